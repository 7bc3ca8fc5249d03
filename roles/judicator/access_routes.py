"""The RPC of users, personal tokens, sessions and tickets (`khala.protocol.access`).

What a name, a role and a date may be is checked here, because gateways are not the only ones that
ask: commands on a judicator's host do, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from datetime import timedelta

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.access_limits import (
    ACCESS_TOKEN_LIFE_MAX_S,
    ACCESS_TOKEN_LIFE_MIN_S,
    ACCESS_TOKEN_NAME_CHARS,
    USER_NAME_CHARS,
    USER_NUMBER_MAX,
)
from khala.model.errors import KhalaError, Rejected
from khala.net.httpd import Routes
from khala.protocol.access import (
    ChangeUser,
    Identify,
    MakePat,
    MakeTicket,
    MakeUser,
    NewPat,
    OpenSession,
    PatList,
    PatMade,
    SessionOpened,
    TicketMade,
    UserList,
    UserMade,
    UseTicket,
)
from khala.store.access_tokens import MongoAccessTokens, NewToken
from khala.store.mongo import MongoStore
from khala.store.users import MongoUsers
from roles.judicator.answers import answer, decode, done
from roles.judicator.audit_routes import AuditRoutes
from roles.judicator.world import World

_USER = "/rpc/v1/users/<name:str>"
_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{USER_NAME_CHARS - 1}}}\Z")
_decode_identify = msgspec.msgpack.Decoder(Identify).decode
_decode_user = msgspec.msgpack.Decoder(MakeUser).decode
_decode_change = msgspec.msgpack.Decoder(ChangeUser).decode
_decode_pat = msgspec.msgpack.Decoder(MakePat).decode
_decode_session = msgspec.msgpack.Decoder(OpenSession).decode
_decode_ticket = msgspec.msgpack.Decoder(MakeTicket).decode
_decode_use = msgspec.msgpack.Decoder(UseTicket).decode


class AccessRoutes:
    def __init__(
        self,
        users: MongoUsers,
        tokens: MongoAccessTokens,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        """`spawn` takes what no answer waits for."""
        self._users = users
        self._tokens = tokens
        self._spawn = spawn

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/identify", self.identify)
        routes.add("POST", "/rpc/v1/users", self.make_user)
        routes.add("GET", "/rpc/v1/users", self.list_users)
        routes.add("PATCH", _USER, self.change_user)
        routes.add("DELETE", _USER, self.remove_user)
        routes.add("POST", "/rpc/v1/pats", self.make_pat)
        routes.add("GET", "/rpc/v1/pats", self.list_pats)
        routes.add("DELETE", "/rpc/v1/pats/<pat:str>", self.revoke_pat)
        routes.add("POST", "/rpc/v1/sessions", self.open_session)
        routes.add("DELETE", "/rpc/v1/sessions/<session:str>", self.close_session)
        routes.add("POST", "/rpc/v1/tickets", self.make_ticket)
        routes.add("POST", "/rpc/v1/tickets/use", self.use_ticket)

    async def identify(self, request: Request) -> HTTPResponse:
        found = await self._tokens.identify(decode(_decode_identify, request.body))
        if found.identity is not None and found.identity.token is not None:
            self._spawn(self._note_used(found.identity.token))
        return answer(found)

    async def _note_used(self, token: str) -> None:
        """For people, who can do without."""
        try:
            await self._tokens.note_used(token)
        except KhalaError:
            return

    async def make_user(self, request: Request) -> HTTPResponse:
        given = decode(_decode_user, request.body)
        if not _NAME.match(given.name):
            raise Rejected(
                f"name: a user's name has 1 to {USER_NAME_CHARS} lower-case letters, digits, '.',"
                f" '_' or '-' and starts with a letter or digit; {given.name[:80]!r} does not",
                field="name",
            )
        if given.number is not None and not 0 <= given.number <= USER_NUMBER_MAX:
            raise Rejected(
                f"number: 0 to {USER_NUMBER_MAX} is expected, {given.number} was given",
                field="number",
            )
        token = None if given.pat is None else _checked(given.pat, given.role)
        user, pat, minted = await self._users.make(given, token)
        return answer(UserMade(user=user, pat=pat, secret=minted.text if minted else None))

    async def list_users(self, _: Request) -> HTTPResponse:
        return answer(UserList(users=await self._users.list()))

    async def change_user(self, request: Request, name: str) -> HTTPResponse:
        return answer(await self._users.change(name, decode(_decode_change, request.body)))

    async def remove_user(self, _: Request, name: str) -> HTTPResponse:
        await self._users.remove(name)
        return answer(UserList(users=await self._users.list()))

    async def make_pat(self, request: Request) -> HTTPResponse:
        given = decode(_decode_pat, request.body)
        user = await self._users.get(given.user)
        pat, minted = await self._users.make_token(user.name, _checked(given.pat, user.role))
        return answer(PatMade(pat=pat, secret=minted.text))

    async def list_pats(self, request: Request) -> HTTPResponse:
        user = request.args.get("user")
        if user is None:
            pats, more = await self._tokens.list_all()
            return answer(PatList(pats=pats, more=more))
        await self._users.get(user)
        return answer(PatList(pats=await self._tokens.list(user)))

    async def revoke_pat(self, request: Request, pat: str) -> HTTPResponse:
        owner = await self._tokens.revoke(pat, request.args.get("user"))
        return answer(PatList(pats=await self._tokens.list(owner)))

    async def open_session(self, request: Request) -> HTTPResponse:
        minted, document = await self._tokens.open_session(decode(_decode_session, request.body))
        return answer(SessionOpened(secret=minted.text, expires_at=document["expires_at"]))

    async def close_session(self, _: Request, session: str) -> HTTPResponse:
        await self._tokens.close_session(session)
        return done()

    async def make_ticket(self, request: Request) -> HTTPResponse:
        expires_at = await self._tokens.make_ticket(decode(_decode_ticket, request.body))
        return answer(TicketMade(expires_at=expires_at))

    async def use_ticket(self, request: Request) -> HTTPResponse:
        used = await self._tokens.use_ticket(decode(_decode_use, request.body))
        if used.identity is not None and used.identity.token is not None:
            self._spawn(self._note_used(used.identity.token))
        return answer(used)


def _checked(given: NewPat, role: Role) -> NewToken:
    """Raise `Rejected` for what no token may be. `role` is its user's."""
    name = given.name
    if not 1 <= len(name) <= ACCESS_TOKEN_NAME_CHARS or not name.isprintable():
        raise Rejected(
            f"token name: 1 to {ACCESS_TOKEN_NAME_CHARS} printable characters are expected,"
            f" {name[:80]!r} was given",
            field="token",
        )
    if not ACCESS_TOKEN_LIFE_MIN_S <= given.ttl_s <= ACCESS_TOKEN_LIFE_MAX_S:
        raise Rejected(
            f"expires_in: {ACCESS_TOKEN_LIFE_MIN_S:.0f} s to"
            f" {ACCESS_TOKEN_LIFE_MAX_S / 86_400:.0f} d are expected, {given.ttl_s:g} s were given",
            field="expires_in",
        )
    if given.role is not None and not role.may(given.role):
        raise Rejected(f"role: the token of a {role} cannot be one of a {given.role}", field="role")
    return NewToken(name=name, role=given.role or role, life=timedelta(seconds=given.ttl_s))


def register_access(
    routes: Routes, store: MongoStore, world: World, life: Callable[[], timedelta]
) -> None:
    """These, and those of the audit log, whose entries are kept for what `life` says then."""
    AccessRoutes(store.users, store.access_tokens, world.spawn).register(routes)
    AuditRoutes(store.audit, life).register(routes)
