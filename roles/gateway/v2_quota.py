"""`GET /api/v2/quota`: what a user may have of the cluster, and has."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.quota import QuotaView
from roles.gateway.callers import caller_of
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.ownership import whose
from roles.gateway.pages import NOSNIFF
from roles.gateway.queries import read_query
from roles.gateway.submission import INTEGER_MAX


class QuotaQuery(Struct, frozen=True, kw_only=True):
    #: Whose; None: of who asks.
    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None


class QuotaRoutes(Struct, frozen=True, kw_only=True):
    """The handler, and what it answers from."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path="/api/v2/quota",
            tag="Cluster",
            query=QuotaQuery,
            answers={200: Answer(v2.Quota)},
        )
    )
    async def get_quota(self, request: Request) -> HTTPResponse:
        """Show the bounds of a user, and what it has of each."""
        user = whose(caller_of(request), read_query(request, QuotaQuery).user)
        seen = await load_quota(self.client, user)
        headers = {**NOSNIFF, "Cache-Control": "no-store"}
        return HTTPResponse(v2.encode(_view(seen)), headers=headers, content_type=JSON)


async def load_quota(client: JudicatorClient, user: int) -> QuotaView:
    return await client.ask("GET", f"/rpc/v1/quota/{user}", None, QuotaView)


def _view(seen: QuotaView) -> v2.Quota:
    limits, used = seen.limits, seen.used
    return v2.Quota(
        user=seen.user,
        queued=v2.QuotaLine(limit=limits.queued, used=used.queued),
        running=v2.QuotaLine(limit=limits.running, used=used.running),
        cpu_s=v2.QuotaLine(limit=limits.cpu_s, used=used.cpu_s),
        stored_bytes=v2.QuotaLine(limit=limits.size_bytes, used=used.size_bytes),
    )
