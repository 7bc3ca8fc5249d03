"""`POST /api/v2/tickets`: what may stand in an address, where a program can set no header.

A ticket is used up by the first request that shows it, so whoever reads the address later, in a log
or a history, has nothing. It grants no more than what its maker showed, and is made often: the
audit log does not have it.
"""

from __future__ import annotations

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.errors import NotFound, NotPossible
from khala.model.tokens import TokenKind, mint, seal
from khala.net.client import JudicatorClient
from khala.net.secrets import SecretFile
from khala.protocol import v2
from khala.protocol.access import MakeTicket, TicketMade
from khala.protocol.v2 import KnownBy, ProblemCode
from roles.gateway.callers import caller_of
from roles.gateway.identities import NO_TICKETS
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF

_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}


class TicketRoutes(Struct, frozen=True, kw_only=True):
    """The handler, and what it needs."""

    client: JudicatorClient
    #: The gateway's own.
    token: SecretFile | None

    @declare(
        Operation(
            method="POST",
            path="/api/v2/tickets",
            role=Role.VIEWER,
            tag="Access",
            answers={201: Answer(v2.Ticket)},
            problems=(ProblemCode.NOT_POSSIBLE,),
        )
    )
    async def create_ticket(self, request: Request) -> HTTPResponse:
        """Make a ticket: `?ticket=` of one GET or HEAD below `/api/v2`, at any gateway of the
        cluster, within a minute. It stands for who makes it, and is nothing without the token or
        the session that it was made with."""
        caller = caller_of(request)
        minted = mint(TokenKind.TICKET)
        hashed = minted.hash
        if self.token is not None and caller.known_by is KnownBy.TOKEN_FILE:
            hashed = seal(hashed, self.token.read())
        asked = MakeTicket(id=minted.id, hash=hashed, by=caller.shown)
        try:
            made = await self.client.ask("POST", "/rpc/v1/tickets", asked, TicketMade)
        except NotFound:
            raise NotPossible(NO_TICKETS) from None
        ticket = v2.Ticket(ticket=minted.text, expires_at=v2.stamp(made.expires_at))
        return HTTPResponse(v2.encode(ticket), status=201, headers=_HEADERS, content_type=JSON)
