"""Users, tokens, sessions and the audit log of a judicator's double: a dictionary of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import AccessToken, Identity, Role, User
from khala.model.errors import NotFound
from khala.model.tokens import TokenKind, mint
from khala.net.httpd import Routes
from khala.protocol.access import Identified, Identify, OpenSession, SessionOpened

SOON = timedelta(hours=1)


class AccessDouble:
    """A part of `JudicatorDouble`. Without users it is as a judicator that has none."""

    def __init__(self, routes: Routes) -> None:
        self.users: dict[str, User] = {}
        #: By the hash of the secret: tokens, and sessions with the token they began with.
        self.tokens: dict[str, AccessToken] = {}
        self.sessions: dict[str, tuple[str, AccessToken]] = {}
        #: Questions, by the id that was shown.
        self.asked: list[str] = []
        #: It is older than users.
        self.older = False
        routes.add("POST", "/rpc/v1/identify", self.identify)
        routes.add("POST", "/rpc/v1/sessions", self.open_session)
        routes.add("DELETE", "/rpc/v1/sessions/<session:str>", self.close_session)

    def clear(self) -> None:
        self.users.clear()
        self.tokens.clear()
        self.sessions.clear()
        self.asked.clear()
        self.older = False

    def make(self, name: str, role: Role, number: int, token_role: Role | None = None) -> str:
        """A user with a token, which is answered."""
        now = datetime.now(UTC)
        self.users[name] = User(name=name, number=number, role=role, created_at=now)
        made = mint(TokenKind.PERSONAL)
        self.tokens[made.hash] = AccessToken(
            id=made.id,
            user=name,
            name="test",
            role=token_role or role,
            created_at=now,
            expires_at=now + SOON,
        )
        return made.text

    def revoke(self, user: str) -> None:
        """All that speaks for the user."""
        self.tokens = {key: each for key, each in self.tokens.items() if each.user != user}
        self.sessions = {key: each for key, each in self.sessions.items() if each[1].user != user}

    def _identity(self, given: Identify) -> Identity | None:
        token = self.tokens.get(given.hash)
        if token is None and given.hash in self.sessions:
            token = self.sessions[given.hash][1]
        if token is None:
            return None
        user = self.users[token.user]
        return Identity(
            role=min(token.role, user.role, key=list(Role).index),
            name=user.name,
            number=user.number,
            token=token.id,
            expires_at=token.expires_at,
        )

    async def identify(self, request: Request) -> HTTPResponse:
        if self.older:
            raise NotFound("there is nothing here")
        given = msgspec.msgpack.decode(request.body, type=Identify)
        self.asked.append(given.id)
        identity = self._identity(given) if given.hash else None
        return _answer(Identified(has_users=bool(self.users), identity=identity))

    async def open_session(self, request: Request) -> HTTPResponse:
        given = msgspec.msgpack.decode(request.body, type=OpenSession)
        token = self.tokens.get(given.hash)
        if token is None:
            raise NotFound("there is no such token")
        made = mint(TokenKind.SESSION)
        self.sessions[made.hash] = (made.id, token)
        return _answer(SessionOpened(secret=made.text, expires_at=datetime.now(UTC) + SOON))

    async def close_session(self, _: Request, session: str) -> HTTPResponse:
        self.sessions = {key: each for key, each in self.sessions.items() if each[0] != session}
        return HTTPResponse(None, status=204)


def _answer(body: msgspec.Struct) -> HTTPResponse:
    return HTTPResponse(msgspec.msgpack.encode(body), content_type="application/msgpack")
