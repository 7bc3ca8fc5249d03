"""Tickets of a judicator's double: a list of those that were not used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Identity
from khala.model.errors import NotFound
from khala.net.httpd import Routes
from khala.protocol.access import Identify, MakeTicket, TicketMade, TicketUsed, UseTicket


class TicketDouble:
    """A part of `AccessDouble`, which says whom a token stands for."""

    def __init__(self, routes: Routes, identity_of: Callable[[Identify], Identity | None]) -> None:
        self._identity_of = identity_of
        self._open: list[MakeTicket] = []
        #: It is older than tickets.
        self.older = False
        routes.add("POST", "/rpc/v1/tickets", self.make)
        routes.add("POST", "/rpc/v1/tickets/use", self.use)

    def clear(self) -> None:
        self._open.clear()
        self.older = False

    async def make(self, request: Request) -> HTTPResponse:
        if self.older:
            raise NotFound("there is nothing here")
        self._open.append(msgspec.msgpack.decode(request.body, type=MakeTicket))
        return _answer(TicketMade(expires_at=datetime.now(UTC) + timedelta(minutes=1)))

    async def use(self, request: Request) -> HTTPResponse:
        if self.older:
            raise NotFound("there is nothing here")
        given = msgspec.msgpack.decode(request.body, type=UseTicket)
        found = [each for each in self._open if each.id == given.id and each.hash in given.hashes]
        if not found:
            return _answer(TicketUsed())
        [ticket] = found
        self._open.remove(ticket)
        by = ticket.by
        identity = None if by is None else self._identity_of(Identify(id=by.id, hash=by.hash))
        return _answer(TicketUsed(hash=ticket.hash, by=by, identity=identity))


def _answer(body: msgspec.Struct) -> HTTPResponse:
    return HTTPResponse(msgspec.msgpack.encode(body), content_type="application/msgpack")
