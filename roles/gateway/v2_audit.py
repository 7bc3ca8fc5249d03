"""`GET /api/v2/audit`: who did what, by pages, or all of it as lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.access_limits import AUDIT_PAGE_MAX
from khala.model.limits import EVENT_STALL_S
from khala.net.client import JudicatorClient
from khala.net.httpd import hang_up
from khala.protocol import v2
from khala.protocol.access import AuditPage, AuditQuery, AuditRow
from khala.protocol.v2.access import UserName
from roles.gateway.bounds import told
from roles.gateway.callers import Lookout
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.queries import read_query

_LINES = "application/x-ndjson"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_SHOWN_DEFAULT = 50


class AuditQueryV2(Struct, frozen=True, kw_only=True):
    #: Who did it, by name.
    user: UserName | None = None
    #: What was done: `node.drain`.
    act: Annotated[str, Meta(pattern=r"^[a-z_]{1,32}(\.[a-z_]{1,32})?$")] | None = None
    #: Bounds on when, inclusive.
    since: Annotated[datetime, told(format="date-time")] | None = None
    until: Annotated[datetime, told(format="date-time")] | None = None
    #: Of a page.
    limit: Annotated[int, Meta(ge=1, le=AUDIT_PAGE_MAX)] = _SHOWN_DEFAULT
    #: The `next_cursor` of the page before.
    cursor: Annotated[str, Meta(pattern="^[0-9A-Za-z_-]{1,64}$")] | None = None


class AuditRoutes(Struct, frozen=True, kw_only=True):
    """The handler, and whom it asks."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path="/api/v2/audit",
            role=Role.ADMIN,
            tag="Access",
            query=AuditQueryV2,
            answers={200: Answer(v2.AuditPage, others={_LINES: v2.AuditItem})},
        )
    )
    async def list_audit(self, request: Request) -> HTTPResponse | None:
        """What was done, and refused, the latest first. `Accept: application/x-ndjson` has all that
        matches, line by line."""
        given = read_query(request, AuditQueryV2)
        query = AuditQuery(
            limit=given.limit,
            before=given.cursor,
            user=given.user,
            act=given.act,
            since=given.since,
            until=given.until,
        )
        accepts = request.headers.get("accept", "").lower()
        if "ndjson" in accepts or "jsonl" in accepts:
            return await self._export(request, replace(query, limit=AUDIT_PAGE_MAX))
        page = await self._load(query)
        cursor = page.rows[-1].id if page.more else None
        body = v2.AuditPage(items=[_view(row) for row in page.rows], next_cursor=cursor)
        return HTTPResponse(v2.encode(body), headers=_HEADERS, content_type=JSON)

    async def _export(self, request: Request, query: AuditQuery) -> HTTPResponse | None:
        page = await self._load(query)  # a failure up to here has a status of its own
        if request.method == "HEAD":
            return HTTPResponse(None, headers=_HEADERS, content_type=_LINES)
        response = await request.respond(headers=_HEADERS, content_type=_LINES)
        lookout = Lookout(request)
        try:
            async for rows in self._pages(page, query):
                if await lookout.denies():
                    hang_up(request)
                    return None
                lines = b"".join(v2.encode(_view(row)) + b"\n" for row in rows)
                async with asyncio.timeout(EVENT_STALL_S):
                    await response.send(lines)
            await response.eof()
        except TimeoutError:
            hang_up(request)
        return None

    async def _pages(self, page: AuditPage, query: AuditQuery) -> AsyncIterator[list[AuditRow]]:
        while page.rows:
            yield page.rows
            if not page.more:
                return
            page = await self._load(replace(query, before=page.rows[-1].id))

    async def _load(self, query: AuditQuery) -> AuditPage:
        return await self.client.ask("POST", "/rpc/v1/audit/list", query, AuditPage)


def _view(row: AuditRow) -> v2.AuditItem:
    entry = row.entry
    return v2.AuditItem(
        id=row.id,
        at=v2.stamp(row.at),
        act=entry.act,
        target=entry.target,
        detail=entry.detail,
        user=entry.user,
        known_by=entry.known_by,
        token=entry.token,
        address=entry.address,
        via=entry.via,
        request_id=entry.request_id,
        status=row.status,
    )
