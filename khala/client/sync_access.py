"""Users, tokens and the audit log, as methods of the blocking client."""

from __future__ import annotations

from collections.abc import Generator

from khala.client.access import AuditFilter
from khala.client.sync_nodes import BlockingNodes
from khala.model.access import Role
from khala.protocol.v2 import (
    AuditItem,
    CreatedToken,
    CreatedUser,
    Me,
    NewToken,
    NewUser,
    Roles,
    Ticket,
    Token,
    User,
)


class BlockingAccess(BlockingNodes):
    """A part of `Khala`."""

    def me(self) -> Me:
        return self._do(self._inner.me())

    def list_roles(self) -> Roles:
        return self._do(self._inner.list_roles())

    def list_tokens(self, *, user: str | None = None) -> list[Token]:
        return self._do(self._inner.list_tokens(user=user))

    def create_token(self, token: NewToken) -> CreatedToken:
        return self._do(self._inner.create_token(token))

    def revoke_token(self, token: str) -> None:
        self._do(self._inner.revoke_token(token))

    def create_ticket(self) -> Ticket:
        return self._do(self._inner.create_ticket())

    def list_users(self) -> list[User]:
        return self._do(self._inner.list_users())

    def get_user(self, name: str) -> User:
        return self._do(self._inner.get_user(name))

    def create_user(self, user: NewUser) -> CreatedUser:
        return self._do(self._inner.create_user(user))

    def change_user(
        self, name: str, *, role: Role | None = None, disabled: bool | None = None
    ) -> User:
        return self._do(self._inner.change_user(name, role=role, disabled=disabled))

    def delete_user(self, name: str) -> None:
        self._do(self._inner.delete_user(name))

    def audit(self, only: AuditFilter | None = None) -> Generator[AuditItem, None, None]:
        return self._each(self._inner.audit(only))
