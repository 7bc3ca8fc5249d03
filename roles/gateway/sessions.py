"""`/api/v2/session`: a token traded for a cookie, so that a page need not keep it.

The session of a personal token is a judicator's to know and to end. That of the gateway's own token
is known by nobody: the cookie is derived from the token and dies with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.dates import utc_now
from khala.model.errors import Rejected, TooLarge
from khala.model.limits import KIB
from khala.model.tokens import Shown, TokenKind, parse_shown
from khala.net.auth import CLEAR_COOKIE, SESSION_AGE_S, SESSION_COOKIE, Session
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.net.secrets import SECRET_CHARS_MAX, SecretFile, same
from khala.protocol.access import OpenSession, SessionOpened
from khala.protocol.v2 import ProblemCode
from roles.gateway.documents import parse_document
from roles.gateway.guard import Guard
from roles.gateway.identities import Identities
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF, problem

SESSION = "/api/v2/session"
#: A token, however its characters are written.
SESSION_BODY_BYTES = 16 * KIB
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}


class Login(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a session is opened with."""

    #: A personal token, or the gateway's own.
    token: Annotated[str, Meta(max_length=SECRET_CHARS_MAX)]


_decoder = msgspec.json.Decoder(Login)


class SessionRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and what they need."""

    client: JudicatorClient
    identities: Identities
    guard: Guard
    token: SecretFile | None

    @declare(
        Operation(
            method="POST",
            path=SESSION,
            tag="Access",
            anyone=True,
            request={JSON: Login},
            answers={204: Answer(content="", headers=("Set-Cookie",))},
            problems=(ProblemCode.VALIDATION_FAILED,),
        )
    )
    async def open_session(self, request: Request) -> HTTPResponse:
        """Trade a token for a cookie that scripts cannot read."""
        if len(request.body) > SESSION_BODY_BYTES:
            raise TooLarge(f"body: a token is expected, in {SESSION_BODY_BYTES} bytes at the most")
        try:
            login = parse_document(_decoder, request.body)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        if self.token is not None and same(login.token, token := self.token.read()):
            return _done(Session.of(token).cookie(SESSION_AGE_S))
        shown = parse_shown(login.token)
        if shown is not None and shown.kind is TokenKind.PERSONAL:
            found = await self.identities.find(shown)
            if found.identity is not None:
                return _done(await self._open(shown))
        if await self.guard.lets_anyone_in():
            return _done(None)
        wrong = Rejected(
            "token: this is neither the gateway's token nor a personal one that is known; it may"
            " have expired, or was revoked",
            field="token",
        )
        return problem(Failure(status=401, error=wrong))

    async def _open(self, shown: Shown) -> str:
        opening = OpenSession(id=shown.id, hash=shown.hash, ttl_s=SESSION_AGE_S)
        opened = await self.client.ask("POST", "/rpc/v1/sessions", opening, SessionOpened)
        return Session(value=opened.secret).cookie(_age_s(opened.expires_at))

    @declare(
        Operation(
            method="DELETE",
            path=SESSION,
            tag="Access",
            anyone=True,
            answers={204: Answer(content="", headers=("Set-Cookie",))},
        )
    )
    async def close_session(self, request: Request) -> HTTPResponse:
        """End the session."""
        shown = parse_shown(request.cookies.get(SESSION_COOKIE))
        if shown is not None and shown.kind is TokenKind.SESSION:
            # Only who has the secret ends it.
            if (await self.identities.find(shown)).identity is not None:
                await self.client.close_session(shown.id)
                self.identities.forget()
        return _done(CLEAR_COOKIE)


def _age_s(expires_at: datetime) -> int:
    return max(0, int((expires_at - utc_now()).total_seconds()))


def _done(cookie: str | None) -> HTTPResponse:
    headers = {**_HEADERS, "Set-Cookie": cookie} if cookie else _HEADERS
    return HTTPResponse(None, status=204, headers=headers)
