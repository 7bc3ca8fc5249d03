"""Users and tokens as judicators keep them: asked for, changed, and shown.

What is changed through this gateway holds at it at once: it believes nothing from before.
"""

from __future__ import annotations

import re
from typing import TypeVar

from msgspec import Struct

from khala.config.values import Kind
from khala.model.access import AccessToken, User
from khala.model.access_limits import (
    ACCESS_TOKEN_LIFE_MAX_S,
    ACCESS_TOKEN_LIFE_MIN_S,
    ACCESS_TOKEN_LIFE_S,
    USER_NAME_CHARS,
)
from khala.model.errors import NotFound, Rejected
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.access import PatList, UserList
from khala.protocol.v2 import Issue, IssueCode, Scalar
from roles.gateway.identities import Identities
from roles.gateway.issues import Invalid, Issues
from roles.gateway.spec_limits import read_amount

Answered = TypeVar("Answered", bound=Struct)
_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{USER_NAME_CHARS - 1}}}")


class Accounts(Struct, frozen=True, kw_only=True):
    client: JudicatorClient
    identities: Identities

    async def users(self) -> list[User]:
        """By name."""
        found = await self.client.ask("GET", "/rpc/v1/users", None, UserList)
        return sorted(found.users, key=lambda user: user.name)

    async def tokens(self, user: str) -> list[AccessToken]:
        """The latest first."""
        path = f"/rpc/v1/pats?user={check_user(user)}"
        found = await self.client.ask("GET", path, None, PatList)
        return sorted(found.pats, key=lambda token: token.created_at, reverse=True)

    async def change(
        self, method: str, path: str, body: Struct | None, kind: type[Answered]
    ) -> Answered:
        """Raise `Invalid` for what a judicator does not take of the document."""
        try:
            return await self.client.ask(method, f"/rpc/v1/{path}", body, kind)
        except Rejected as error:
            if type(error) is not Rejected or not error.field:
                raise
            pointer = f"/{error.field.removeprefix('/')}"
            code = IssueCode.INVALID_VALUE
            issue = Issue(pointer=pointer, code=code, detail=error.message)
            raise Invalid([issue]) from error
        finally:
            self.identities.forget()


def check_user(name: str) -> str:
    """As it may stand in an address. Raise `NotFound` for what nobody can be called."""
    if not _NAME.fullmatch(name):
        raise NotFound(f"there is no user {name[:USER_NAME_CHARS]!r}")
    return name


def ttl_of(given: Scalar, pointer: str) -> float:
    """In seconds. Raise `Invalid`."""
    if given is None:
        return ACCESS_TOKEN_LIFE_S
    issues = Issues()
    bounds = (ACCESS_TOKEN_LIFE_MIN_S, ACCESS_TOKEN_LIFE_MAX_S)
    ttl_s = read_amount(Kind.SECONDS, given, bounds, pointer, issues)
    issues.raise_if_any()
    return ttl_s or ACCESS_TOKEN_LIFE_S


def view_user(user: User) -> v2.User:
    return v2.User(
        name=user.name,
        number=user.number,
        role=user.role,
        created_at=v2.stamp(user.created_at),
        disabled=user.disabled,
    )


def view_token(token: AccessToken) -> v2.Token:
    return v2.Token(
        id=token.id,
        user=token.user,
        name=token.name,
        role=token.role,
        created_at=v2.stamp(token.created_at),
        expires_at=v2.stamp(token.expires_at),
        used_at=v2.stamp(token.used_at) if token.used_at else None,
    )


def view_made(secret: str, token: AccessToken) -> v2.CreatedToken:
    return v2.CreatedToken(
        id=token.id,
        secret=secret,
        user=token.user,
        name=token.name,
        role=token.role,
        expires_at=v2.stamp(token.expires_at),
    )
