"""Join tokens by HTTP: what a host needs to become an executor or a gateway of this cluster.

Not a judicator. Judicators share the key that signs certificates, and whoever has that is whoever
it wants to be; so it is a judicator that refuses those, whatever a gateway says, and whoever makes
one has to be on a judicator's host.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.config.values import Kind
from khala.model.access import Role
from khala.model.errors import NotFound
from khala.model.limits import JOIN_TOKEN_MAX_S, JOIN_TOKEN_MIN_S, JOIN_TOKEN_USES
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.joining import MakeToken, TokenList, TokenMade, TokenRecord
from khala.protocol.v2 import ProblemCode
from roles.gateway.bounds import within
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid, Issues
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.spec_limits import check_range, read_amount

_ALL = "/api/v2/cluster/join-tokens"
_RPC = "/rpc/v1/tokens"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_ID = re.compile(r"[0-9a-f]{12}")


class JoinTokenSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token for hosts that are to join."""

    #: What they become. Tokens for judicators are made on a judicator's host.
    role: Literal["executor", "gateway", "judicator"]
    #: Seconds, or a text like `1h`, from now; up to 30 days.
    expires_in: Annotated[float, within(JOIN_TOKEN_MIN_S, JOIN_TOKEN_MAX_S)] | str = "1h"
    #: How many hosts.
    uses: Annotated[int, within(1, JOIN_TOKEN_USES)] = 1


_specs = msgspec.json.Decoder(JoinTokenSpec)


class JoinTokenRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and whom they ask."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path=_ALL,
            tag="Cluster",
            answers={200: Answer(v2.JoinTokens)},
            problems=(ProblemCode.NOT_POSSIBLE, ProblemCode.FORBIDDEN),
            role=Role.ADMIN,
        )
    )
    async def list_join_tokens(self, _: Request) -> HTTPResponse:
        """The tokens that hosts can still join with."""
        found = await self.client.ask("GET", _RPC, None, TokenList)
        return _json(v2.JoinTokens(items=[_view(each) for each in found.tokens]))

    @declare(
        Operation(
            method="POST",
            path=_ALL,
            tag="Cluster",
            request={JSON: JoinTokenSpec},
            answers={201: Answer(v2.CreatedJoinToken)},
            problems=(ProblemCode.VALIDATION_FAILED, ProblemCode.NOT_POSSIBLE),
            role=Role.ADMIN,
            act="join_token.create",
        )
    )
    async def create_join_token(self, request: Request) -> HTTPResponse:
        """Make a token that executors or gateways can join with. It is shown once."""
        try:
            asked = _asked(parse_document(_specs, request.body))
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        made = await self.client.ask("POST", _RPC, asked, TokenMade)
        created = v2.CreatedJoinToken(token=made.token, record=_view(made.record))
        return _json(created, status=201)

    @declare(
        Operation(
            method="DELETE",
            path=f"{_ALL}/<join_token:str>",
            tag="Cluster",
            answers={204: Answer(content="")},
            problems=(ProblemCode.NOT_FOUND, ProblemCode.NOT_POSSIBLE),
            role=Role.ADMIN,
            act="join_token.revoke",
        )
    )
    async def revoke_join_token(self, _: Request, join_token: str) -> HTTPResponse:
        """Let nobody join with a token any more. Hosts that have joined with it stay."""
        if not _ID.fullmatch(join_token):
            raise NotFound(f"there is no join token {join_token[:40]!r}; {_ALL} lists them")
        await self.client.ask("DELETE", f"{_RPC}/{join_token}", None, TokenList)
        return HTTPResponse(None, status=204, headers=_HEADERS)


def _asked(given: JoinTokenSpec) -> MakeToken:
    """Raise `Invalid`."""
    issues = Issues()
    bounds = (JOIN_TOKEN_MIN_S, JOIN_TOKEN_MAX_S)
    ttl_s = read_amount(Kind.SECONDS, given.expires_in, bounds, "/expires_in", issues)
    check_range(given.uses, 1, JOIN_TOKEN_USES, "/uses", issues)
    issues.raise_if_any()
    return MakeToken(role=given.role, ttl_s=ttl_s or 0.0, uses=given.uses)


def _view(record: TokenRecord) -> v2.JoinToken:
    return v2.JoinToken(
        id=record.id,
        role=record.role,
        created_at=record.created_at,
        expires_at=record.expires_at,
        uses=record.uses,
        uses_left=record.uses_left,
    )


def _json(body: Struct, *, status: int = 200) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), status=status, headers=_HEADERS, content_type=JSON)
