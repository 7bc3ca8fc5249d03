"""`/api/v2/tokens`: one's own personal tokens, and to administrators anybody's.

A token makes none that allows more than itself, and revokes none that does: whoever finds one that
only reads must not end up with one that rules.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.errors import Forbidden, NotFound, Rejected
from khala.model.tokens import ID_DIGITS
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.access import MakePat, NewPat, PatList, PatMade
from khala.protocol.v2 import IssueCode, ProblemCode
from khala.protocol.v2.access import UserName
from roles.gateway.accounts import Accounts, ttl_of, view_made, view_token
from roles.gateway.callers import Caller, caller_of, check_role
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid, Issues
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.queries import read_query

TOKENS = "/api/v2/tokens"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")
_decoder = msgspec.json.Decoder(v2.NewToken)


class TokensQuery(Struct, frozen=True, kw_only=True):
    #: Whose; None: one's own.
    user: UserName | None = None


class TokenRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and whom they ask."""

    accounts: Accounts

    @declare(
        Operation(
            method="GET",
            path=TOKENS,
            tag="Access",
            query=TokensQuery,
            answers={200: Answer(v2.Tokens)},
            problems=(ProblemCode.FORBIDDEN, ProblemCode.NOT_FOUND),
        )
    )
    async def list_tokens(self, request: Request) -> HTTPResponse:
        """One's own tokens, the latest first; to an administrator anybody's."""
        user = _whose(caller_of(request), read_query(request, TokensQuery).user)
        if user is None:
            raise Rejected("user: whose? who asks has no name", field="user")
        items = [view_token(each) for each in await self.accounts.tokens(user)]
        return _json(v2.Tokens(items=items), 200)

    @declare(
        Operation(
            method="POST",
            path=TOKENS,
            role=Role.VIEWER,
            act="token.create",
            noted=("name", "user", "role", "expires_in"),
            tag="Access",
            request={JSON: v2.NewToken},
            answers={201: Answer(v2.CreatedToken)},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.NOT_POSSIBLE,
                ProblemCode.VALIDATION_FAILED,
            ),
        )
    )
    async def create_token(self, request: Request) -> HTTPResponse:
        """Make a token for oneself, or as an administrator for anybody. Its secret is in this
        answer alone. It allows no more than the token that is shown."""
        caller = caller_of(request)
        try:
            asked = _asked(caller, parse_document(_decoder, request.body))
            made = await self.accounts.change("POST", "pats", asked, PatMade)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        return _json(view_made(made.secret, made.pat), 201)

    @declare(
        Operation(
            method="DELETE",
            path=f"{TOKENS}/<token_id:str>",
            role=Role.VIEWER,
            act="token.delete",
            tag="Access",
            answers={204: Answer(content="")},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def delete_token(self, request: Request, token_id: str) -> HTTPResponse:
        """Revoke a token, and the sessions that were opened with it: one's own, or as an
        administrator anybody's."""
        caller = caller_of(request)
        if not _ID.fullmatch(token_id):
            raise NotFound(f"there is no token {token_id[:40]!r}")
        path = f"pats/{token_id}"
        if not caller.role.may(Role.ADMIN):
            await self._check_own(caller, token_id)
            path = f"{path}?user={caller.name}"
        await self.accounts.change("DELETE", path, None, PatList)
        return HTTPResponse(None, status=204, headers=_HEADERS)

    async def _check_own(self, caller: Caller, token_id: str) -> None:
        own = await self.accounts.tokens(caller.name or "")
        found = [each for each in own if each.id == token_id]
        if not found:
            raise NotFound(f"there is no token {token_id} of {caller.name}'s")
        if not caller.role.may(found[0].role):
            raise Forbidden(f"token {token_id} has the role {found[0].role}; here {caller}")


def _asked(caller: Caller, given: v2.NewToken) -> MakePat:
    """Raise `Invalid`, `Forbidden`."""
    ttl_s = ttl_of(given.expires_in, "/expires_in")
    user = _whose(caller, given.user)
    if user is None:
        issues = Issues()
        issues.add("/user", IssueCode.MISSING_FIELD, "whose? who asks has no name")
        issues.raise_if_any()
    role = given.role
    if user == caller.name:
        # The user's role may be more than that of the token which is shown.
        role = role or caller.role
        if not caller.role.may(role):
            raise Forbidden(f"a token of the role {role} allows more than this one: {caller}")
    return MakePat(user=user or "", pat=NewPat(name=given.name, ttl_s=ttl_s, role=role))


def _whose(caller: Caller, given: str | None) -> str | None:
    """Raise `Forbidden` for somebody else's of who is no administrator."""
    if given is not None and given != caller.name:
        check_role(caller, Role.ADMIN)
    return given or caller.name


def _json(body: Struct, status: int) -> HTTPResponse:
    return HTTPResponse(v2.encode(body), status=status, headers=_HEADERS, content_type=JSON)
