"""The RPC of the audit log (`khala.protocol.access`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access_limits import AUDIT_DETAIL_CHARS, AUDIT_PAGE_MAX, AUDIT_TARGET_CHARS
from khala.model.errors import Rejected
from khala.net.httpd import Routes
from khala.protocol.access import AuditEntry, AuditKept, AuditOutcome, AuditQuery
from khala.store.audit import MongoAudit
from roles.judicator.answers import answer, decode, done

_decode_entry = msgspec.msgpack.Decoder(AuditEntry).decode
_decode_outcome = msgspec.msgpack.Decoder(AuditOutcome).decode
_decode_query = msgspec.msgpack.Decoder(AuditQuery).decode


class AuditRoutes:
    def __init__(self, log: MongoAudit, life: Callable[[], timedelta]) -> None:
        self._log = log
        self._life = life

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/audit", self.keep)
        routes.add("POST", "/rpc/v1/audit/list", self.show)
        routes.add("POST", "/rpc/v1/audit/<entry:str>/outcome", self.note_outcome)

    async def keep(self, request: Request) -> HTTPResponse:
        """Texts that are too long are cut: an act is not refused for its name."""
        entry = decode(_decode_entry, request.body)
        entry = replace(
            entry,
            target=entry.target[:AUDIT_TARGET_CHARS],
            detail=entry.detail[:AUDIT_DETAIL_CHARS],
        )
        return answer(AuditKept(id=await self._log.keep(entry, self._life())))

    async def note_outcome(self, request: Request, entry: str) -> HTTPResponse:
        await self._log.note_outcome(entry, decode(_decode_outcome, request.body).status)
        return done()

    async def show(self, request: Request) -> HTTPResponse:
        query = decode(_decode_query, request.body)
        if not 1 <= query.limit <= AUDIT_PAGE_MAX:
            raise Rejected(
                f"limit: 1 to {AUDIT_PAGE_MAX} is expected, {query.limit} was given", field="limit"
            )
        return answer(await self._log.page(query))
