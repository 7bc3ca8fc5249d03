"""How many requests a second one caller may send to this gateway, and the headers that tell it.

Who is known has a bucket by its name, however many tokens and connections it has. Who is not shares
one with all strangers at its address, which bounds what their guesses cost; who is known is never
refused because of those. `RateLimit` and `RateLimit-Policy` are those of the IETF's draft
(draft-ietf-httpapi-ratelimit-headers-11).
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable

from sanic import Request
from sanic.response import BaseHTTPResponse

from khala.model.access_limits import CALLERS_COUNTED
from khala.model.errors import RateLimited
from khala.net.httpd import App
from roles.gateway.buckets import Buckets, Standing
from roles.gateway.callers import Caller
from roles.gateway.config import RequestRate


class RequestLimit:
    """Asked by the guard about every request."""

    def __init__(self, rate: RequestRate, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._callers, self._addresses = (
            Buckets(per_second=rate.per_second, burst=rate.burst, bound=CALLERS_COUNTED)
            for _ in range(2)
        )
        # The time in which a bucket fills, and what passes in it: windows are whole seconds.
        window_s = math.ceil(rate.burst / rate.per_second)
        self._policy = f'"default";q={max(rate.burst, int(rate.per_second))};w={window_s}'
        #: Told of each refusal, and whether its caller was known.
        self.on_limited: Callable[[bool], None] = lambda known: None

    def register(self, app: App) -> None:
        app.register_middleware(self._show, "response")

    def count_caller(self, request: Request, caller: Caller) -> RateLimited | None:
        """A request of who is known; why it is refused."""
        # No name of a user has a blank, so it is not taken for one who has none.
        found = self._callers.take(caller.who, self._now())
        return self._judge(request, found, caller)

    def count_stranger(self, request: Request) -> RateLimited | None:
        """A request of who is not."""
        found = self._addresses.take(_place_of(request.ip), self._now())
        return self._judge(request, found)

    def check_stranger(self, request: Request) -> RateLimited | None:
        """Before it is known whether it is one's; it is not counted."""
        found = self._addresses.look(_place_of(request.ip), self._now())
        return None if found.taken else self._judge(request, found)

    def _judge(
        self, request: Request, found: Standing, caller: Caller | None = None
    ) -> RateLimited | None:
        wait_s = math.ceil(found.more_in_s)
        request.ctx.rate_limit = f'"default";r={int(found.level)};t={wait_s}'
        if found.taken:
            return None
        self.on_limited(caller is not None)
        who = caller.who if caller else f"those who are not known, at {request.ip},"
        return RateLimited(
            f"requests of {who} to this gateway are limited to {self._rate.per_second:g} a second,"
            f" and to {self._rate.burst} at once, and this is one more; repeat it in {wait_s} s, or"
            " let the operator raise --requests-per-second",
            retry_after_s=wait_s,
        )

    async def _show(self, request: Request, response: BaseHTTPResponse) -> None:
        """In the answer to what was counted."""
        if found := getattr(request.ctx, "rate_limit", ""):
            response.headers["RateLimit-Policy"] = self._policy
            response.headers["RateLimit"] = found


def _place_of(address: str) -> str:
    """Whoever has one address of IPv6 has all of its /64."""
    if ":" not in address:
        return address
    return ipaddress.IPv6Address(address).packed[:8].hex()
