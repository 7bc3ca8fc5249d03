"""Users, tokens and the audit log, as methods of the client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec
from msgspec import Struct

from khala.client.nodes import NodeCalls
from khala.client.transport import JSON, parse
from khala.model.access import Role
from khala.protocol.v2 import (
    AuditItem,
    AuditPage,
    CreatedToken,
    CreatedUser,
    Me,
    NewToken,
    NewUser,
    Roles,
    Ticket,
    Token,
    Tokens,
    User,
    UserChange,
    Users,
)

_AUDIT_ITEMS = 500


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which entries of the audit log; all that are given must hold. A date without a zone is one
    of this host."""

    user: str | None = None
    #: `user.create`, `node.drain`, ...
    act: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def query(self) -> dict[str, str]:
        dates = {"since": self.since, "until": self.until}
        texts = {"user": self.user, "act": self.act}
        return {name: text for name, text in texts.items() if text is not None} | {
            name: at.astimezone(UTC).isoformat() for name, at in dates.items() if at is not None
        }


class AccessCalls(NodeCalls):
    """A part of `AsyncKhala`. What is an administrator's says so; a role that is too low is
    `Denied`."""

    async def me(self) -> Me:
        """Who the gateway takes this client for."""
        return parse(Me, await self._ask("GET", "/api/v2/me"))

    async def list_roles(self) -> Roles:
        """What each role may do."""
        return parse(Roles, await self._ask("GET", "/api/v2/roles"))

    async def list_tokens(self, *, user: str | None = None) -> list[Token]:
        """One's own, or as an administrator those of `user`."""
        query = {} if user is None else {"user": user}
        return parse(Tokens, await self._ask("GET", "/api/v2/tokens", query=query)).items

    async def create_token(self, token: NewToken) -> CreatedToken:
        """Its secret is in this answer alone."""
        body = msgspec.json.encode(token)
        answer = await self._ask("POST", "/api/v2/tokens", body=body, headers=JSON)
        return parse(CreatedToken, answer)

    async def revoke_token(self, token: str) -> None:
        """By its id. Gateways believe in it for some seconds more."""
        await self._ask("DELETE", f"/api/v2/tokens/{quote(token, safe='')}")

    async def create_ticket(self) -> Ticket:
        """`?ticket=` of one request that only reads, where no header can be set; good for a
        minute."""
        return parse(Ticket, await self._ask("POST", "/api/v2/tickets"))

    async def list_users(self) -> list[User]:
        """An administrator's."""
        return parse(Users, await self._ask("GET", "/api/v2/users")).items

    async def get_user(self, name: str) -> User:
        """Oneself, or as an administrator anybody."""
        return parse(User, await self._ask("GET", _user(name)))

    async def create_user(self, user: NewUser) -> CreatedUser:
        """An administrator's. The first user must be one, and have a token: from then on nobody is
        let in without."""
        body = msgspec.json.encode(user)
        answer = await self._ask("POST", "/api/v2/users", body=body, headers=JSON)
        return parse(CreatedUser, answer)

    async def change_user(
        self, name: str, *, role: Role | None = None, disabled: bool | None = None
    ) -> User:
        """An administrator's. Raise `LastAdmin` if nobody would be left who may do this."""
        body = msgspec.json.encode(UserChange(role=role, disabled=disabled))
        return parse(User, await self._ask("PATCH", _user(name), body=body, headers=JSON))

    async def delete_user(self, name: str) -> None:
        """An administrator's. Its tokens end with it, its tasks stay."""
        await self._ask("DELETE", _user(name))

    async def audit(self, only: AuditFilter | None = None) -> AsyncGenerator[AuditItem, None]:
        """An administrator's: what was done, the latest first, page by page."""
        query = {**(only or AuditFilter()).query(), "limit": str(_AUDIT_ITEMS)}
        while True:
            page = parse(AuditPage, await self._ask("GET", "/api/v2/audit", query=query))
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor


def _user(name: str) -> str:
    return f"/api/v2/users/{quote(name, safe='')}"
