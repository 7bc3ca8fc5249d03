"""Users, tokens, sessions and the audit log of a judicator's double: a dictionary of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import AccessToken, Identity, Role, User
from khala.model.errors import AlreadyThere, KhalaError, LastAdmin, NotFound, NotPossible, Rejected
from khala.model.tokens import TokenKind, mint
from khala.net.httpd import Routes
from khala.protocol.access import (
    AuditEntry,
    AuditKept,
    AuditOutcome,
    AuditPage,
    AuditQuery,
    AuditRow,
    ChangeUser,
    Identified,
    Identify,
    MakePat,
    MakeUser,
    NewPat,
    OpenSession,
    PatList,
    PatMade,
    SessionOpened,
    UserList,
    UserMade,
)
from tests.unit.gateway.ticket_double import TicketDouble

#: Refused by the judicator itself.
TAKEN_NUMBER = 2**31 - 1
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
        #: What keeping an entry of the audit log fails with.
        self.audit_error: KhalaError | None = None
        self.tickets = TicketDouble(routes, self._identity)
        #: It is older than users.
        self.older = False
        routes.add("POST", "/rpc/v1/identify", self.identify)
        routes.add("POST", "/rpc/v1/sessions", self.open_session)
        routes.add("DELETE", "/rpc/v1/sessions/<session:str>", self.close_session)
        routes.add("GET", "/rpc/v1/users", self.list_users)
        routes.add("POST", "/rpc/v1/users", self.make_user)
        routes.add("PATCH", "/rpc/v1/users/<name:str>", self.change_user)
        routes.add("DELETE", "/rpc/v1/users/<name:str>", self.delete_user)
        routes.add("GET", "/rpc/v1/pats", self.list_pats)
        routes.add("POST", "/rpc/v1/pats", self.make_pat)
        routes.add("DELETE", "/rpc/v1/pats/<pat:str>", self.delete_pat)
        #: The latest last.
        self.audit: list[AuditRow] = []
        routes.add("POST", "/rpc/v1/audit", self.keep)
        routes.add("POST", "/rpc/v1/audit/<entry:str>/outcome", self.note_outcome)
        routes.add("POST", "/rpc/v1/audit/list", self.list_audit)

    def clear(self) -> None:
        self.users.clear()
        self.tokens.clear()
        self.sessions.clear()
        self.tickets.clear()
        self.asked.clear()
        self.audit.clear()
        self.audit_error = None
        self.older = False

    def make(self, name: str, role: Role, number: int, token_role: Role | None = None) -> str:
        """A user with a token, which is answered."""
        now = datetime.now(UTC)
        self.users[name] = User(name=name, number=number, role=role, created_at=now)
        new = NewPat(name="test", ttl_s=SOON.total_seconds(), role=token_role)
        return self._make_pat(name, new).secret

    def _make_pat(self, user: str, new: NewPat) -> PatMade:
        made, now = mint(TokenKind.PERSONAL), datetime.now(UTC)
        token = AccessToken(
            id=made.id,
            user=user,
            name=new.name,
            role=new.role or self._user(user).role,
            created_at=now,
            expires_at=now + timedelta(seconds=new.ttl_s),
        )
        self.tokens[made.hash] = token
        return PatMade(secret=made.text, pat=token)

    def _user(self, name: str) -> User:
        if name not in self.users:
            raise NotFound(f"there is no user {name}")
        return self.users[name]

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

    # ---- users and tokens ---------------------------------------------------------------------

    async def list_users(self, _: Request) -> HTTPResponse:
        return _answer(UserList(users=list(self.users.values())))

    async def make_user(self, request: Request) -> HTTPResponse:
        given = msgspec.msgpack.decode(request.body, type=MakeUser)
        if given.name in self.users:
            raise AlreadyThere(f"there is a user {given.name} already")
        if not self.users and (given.role is not Role.ADMIN or given.pat is None):
            raise NotPossible("the first user must be an administrator with a token")
        if given.number == TAKEN_NUMBER:
            raise Rejected("number: it has been given", field="number")
        number = 1 if given.number is None else given.number
        now = datetime.now(UTC)
        user = User(name=given.name, number=number, role=given.role, created_at=now)
        self.users[given.name] = user
        if given.pat is None:
            return _answer(UserMade(user=user))
        made = self._make_pat(given.name, given.pat)
        return _answer(UserMade(user=user, secret=made.secret, pat=made.pat))

    async def change_user(self, request: Request, name: str) -> HTTPResponse:
        given = msgspec.msgpack.decode(request.body, type=ChangeUser)
        user = self._user(name)
        role, disabled = given.role or user.role, bool(given.disabled)
        if role is not Role.ADMIN or disabled:
            self._check_last(user)
        self.users[name] = msgspec.structs.replace(user, role=role, disabled=disabled)
        return _answer(self.users[name])

    async def delete_user(self, _: Request, name: str) -> HTTPResponse:
        self._check_last(self._user(name))
        del self.users[name]
        self.revoke(name)
        return _answer(UserList(users=list(self.users.values())))

    def _check_last(self, user: User) -> None:
        if [each.name for each in self.users.values() if each.role is Role.ADMIN] == [user.name]:
            raise LastAdmin(f"{user.name} is the last administrator")

    async def list_pats(self, request: Request) -> HTTPResponse:
        return _answer(self.pats_of(str(request.args["user"][0])))

    def pats_of(self, user: str) -> PatList:
        return PatList(pats=[each for each in self.tokens.values() if each.user == user])

    async def make_pat(self, request: Request) -> HTTPResponse:
        given = msgspec.msgpack.decode(request.body, type=MakePat)
        return _answer(self._make_pat(given.user, given.pat))

    async def delete_pat(self, request: Request, pat: str) -> HTTPResponse:
        user = request.args.get("user")
        found = [
            (key, each)
            for key, each in self.tokens.items()
            if each.id == pat and user in (None, each.user)
        ]
        if not found:
            raise NotFound(f"there is no token {pat}")
        del self.tokens[found[0][0]]
        return _answer(self.pats_of(found[0][1].user))

    # ---- the audit log ------------------------------------------------------------------------

    async def keep(self, request: Request) -> HTTPResponse:
        if self.older:
            raise NotFound("there is nothing here")
        if self.audit_error is not None:
            raise self.audit_error
        entry = msgspec.msgpack.decode(request.body, type=AuditEntry)
        row = AuditRow(id=f"{len(self.audit):024x}", at=datetime.now(UTC), entry=entry)
        self.audit.append(row)
        return _answer(AuditKept(id=row.id))

    async def note_outcome(self, request: Request, entry: str) -> HTTPResponse:
        status = msgspec.msgpack.decode(request.body, type=AuditOutcome).status
        number = int(entry, 16)
        self.audit[number] = msgspec.structs.replace(self.audit[number], status=status)
        return HTTPResponse(None, status=204)

    async def list_audit(self, request: Request) -> HTTPResponse:
        query = msgspec.msgpack.decode(request.body, type=AuditQuery)
        found = [
            row
            for row in reversed(self.audit)
            if query.user in (None, row.entry.user)
            and query.act in (None, row.entry.act)
            and (query.since is None or row.at >= query.since)
            and (query.until is None or row.at <= query.until)
            and (query.before is None or row.id < query.before)
        ]
        return _answer(AuditPage(rows=found[: query.limit], more=len(found) > query.limit))


def _answer(body: msgspec.Struct) -> HTTPResponse:
    return HTTPResponse(msgspec.msgpack.encode(body), content_type="application/msgpack")
