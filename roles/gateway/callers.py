"""Who asks, as the guard found out, and how a refusal says what they lack.

Every request below a guarded path carries one, or the reason why nobody could say who it is; a
handler reads it with `caller_of`, and never from what the request says of itself.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec import Struct
from sanic import Request

from khala.model.access import Identity, Role
from khala.model.access_limits import IDENTITY_BELIEVED_S
from khala.model.errors import Forbidden, Unavailable
from khala.model.tokens import Shown
from khala.protocol.v2 import KnownBy


class Caller(Struct, frozen=True, kw_only=True):
    identity: Identity
    known_by: KnownBy
    #: To look again whether it still holds; None for who has no token of the cluster's.
    shown: Shown | None = None

    @property
    def role(self) -> Role:
        return self.identity.role

    @property
    def name(self) -> str | None:
        return self.identity.name

    @property
    def rules(self) -> bool:
        """Nothing is somebody else's to it."""
        return self.identity.role.may(Role.OPERATOR)

    @property
    def who(self) -> str:
        return self.identity.name or _NAMELESS[self.known_by]

    def __str__(self) -> str:
        role = self.identity.role
        article = "an" if role[0] in "ao" else "a"
        return f"{self.who} is {article} {role}"


_NAMELESS = {
    KnownBy.TOKEN: "the token's holder",
    KnownBy.SESSION: "the session's holder",
    KnownBy.TOKEN_FILE: "the holder of the gateway's token",
    KnownBy.OPEN: "whoever shows no token",
}


#: How often those are asked for who are answered for long.
LOOK_INTERVAL_S = IDENTITY_BELIEVED_S
NO_LONGER = "the token has expired, or was revoked"
#: Whether a caller is still who it was.
Look: TypeAlias = Callable[[Caller], Awaitable[bool]]


def note_caller(request: Request, caller: Caller | Unavailable, look: Look) -> None:
    request.ctx.caller = caller
    request.ctx.look = look


def caller_of(request: Request) -> Caller:
    """Raise `Unavailable` if nobody could say who asks."""
    caller: Caller | Unavailable = request.ctx.caller
    if isinstance(caller, Unavailable):
        raise caller
    return caller


async def still_holds(request: Request) -> bool:
    """What takes long asks again: a token that is revoked meanwhile is to be told no more."""
    look: Look = request.ctx.look
    return await look(caller_of(request))


class Lookout:
    """Of an answer that lasts: looks now and then whether who reads it may still read."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._look_at = time.monotonic() + LOOK_INTERVAL_S

    async def denies(self) -> bool:
        if time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + LOOK_INTERVAL_S
        return not await still_holds(self._request)


class RoleTooLow(Forbidden):
    """Who asks may not do this to anything."""


def check_role(caller: Caller, needed: Role) -> None:
    """Raise `RoleTooLow`."""
    if not caller.role.may(needed):
        raise RoleTooLow(f"this needs the role {needed}; {caller}")
