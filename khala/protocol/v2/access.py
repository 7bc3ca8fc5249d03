"""Users, personal tokens, roles and the audit log, as `/api/v2` takes and shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from khala.model.access import Role
from khala.model.access_limits import (
    ACCESS_TOKEN_LIFE_MAX_S,
    ACCESS_TOKEN_LIFE_MIN_S,
    ACCESS_TOKEN_NAME_CHARS,
    USER_NAME_CHARS,
    USER_NUMBER_MAX,
)

#: Seconds, or a text such as "90d".
ExpiresIn: TypeAlias = (
    Annotated[int, Meta(ge=int(ACCESS_TOKEN_LIFE_MIN_S), le=int(ACCESS_TOKEN_LIFE_MAX_S))]
    | Annotated[float, Meta(ge=ACCESS_TOKEN_LIFE_MIN_S, le=ACCESS_TOKEN_LIFE_MAX_S)]
    | Annotated[str, Meta(max_length=32)]
)
UserName: TypeAlias = Annotated[
    str, Meta(max_length=USER_NAME_CHARS, pattern="^[a-z0-9][a-z0-9._-]*$")
]
TokenName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=ACCESS_TOKEN_NAME_CHARS)]


class KnownBy(StrEnum):
    """What made the gateway believe who asks."""

    #: A personal token.
    TOKEN = "token"  # noqa: S105
    #: A session that was opened with one.
    SESSION = "session"
    #: The token that the gateway was started with, or a session opened with that.
    TOKEN_FILE = "token_file"  # noqa: S105
    #: Nothing: the gateway is open.
    OPEN = "open"


class Me(Struct, frozen=True, kw_only=True):
    """Who the request was made by."""

    #: None: nobody by name, but who the gateway's own token, or its loopback address, vouches for.
    name: str | None
    #: `user` of the tasks that are submitted without one.
    number: int | None
    #: The most that this request may do: the token's role, or the user's where that is less.
    role: Role
    known_by: KnownBy
    #: The id of the personal token, or of the one that the session was opened with.
    token: str | None
    #: Of the token or the session.
    expires_at: datetime | None
    #: The cluster has users: whoever shows nothing is refused.
    has_users: bool


class User(Struct, frozen=True, kw_only=True):
    """A person or a program."""

    name: str
    #: `user` of its tasks.
    number: int
    role: Role
    created_at: datetime
    #: Its tokens are refused; its tasks go on.
    disabled: bool


class Users(Struct, frozen=True, kw_only=True):
    """All of them."""

    #: By name.
    items: list[User]


class NewUserToken(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A first token for a new user."""

    #: For people: what it is for.
    name: TokenName
    #: Seconds, or a text such as "90d", which is the default; a minute to 366 days.
    expires_in: ExpiresIn | None = None
    #: The most that it allows; None: what its user may.
    role: Role | None = None


class NewUser(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A user to make. The first one must be an administrator with a token."""

    #: Lower-case letters, digits, `.`, `_` and `-`.
    name: UserName
    role: Role
    #: `user` of its tasks; None: the next one.
    number: Annotated[int, Meta(ge=0, le=USER_NUMBER_MAX)] | None = None
    #: None: it gets none yet.
    token: NewUserToken | None = None


class UserChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is left out stays as it is."""

    role: Role | None = None
    disabled: bool | None = None


class NewToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A personal token to make."""

    #: For people: what it is for.
    name: TokenName
    #: Seconds, or a text such as "90d", which is the default; a minute to 366 days.
    expires_in: ExpiresIn | None = None
    #: The most that it allows; None: what its user may.
    role: Role | None = None
    #: None: the one who asks. Others only for administrators.
    user: UserName | None = None


class Token(Struct, frozen=True, kw_only=True):
    """A personal token, without its secret."""

    #: 12 hexadecimal digits; no secret.
    id: str
    user: str
    name: str
    #: The most that it allows.
    role: Role
    created_at: datetime
    expires_at: datetime
    #: A minute or so behind; None: never.
    used_at: datetime | None


class Tokens(Struct, frozen=True, kw_only=True):
    """Those of a user that can still be used."""

    #: The latest first.
    items: list[Token]


class CreatedToken(Struct, frozen=True, kw_only=True):
    """A new token. This answer alone has its secret."""

    id: str
    #: The whole token, as it is to be shown: `kh_pat_...`.
    secret: str
    user: str
    name: str
    role: Role
    expires_at: datetime


class Ticket(Struct, frozen=True, kw_only=True):
    """What may stand in an address, for one request that only reads."""

    #: As it is to be shown, in `?ticket=`: `kh_tkt_...`. This answer alone has it.
    ticket: str
    #: A minute from now; it is gone when it was used.
    expires_at: datetime


class CreatedUser(Struct, frozen=True, kw_only=True):
    """A new user."""

    user: User
    #: None: none was asked for.
    token: CreatedToken | None


class RoleItem(Struct, frozen=True, kw_only=True):
    """A role."""

    name: Role
    #: Sentences; it may do what the ones before it may, too.
    may: list[str]


class Roles(Struct, frozen=True, kw_only=True):
    """All of them."""

    #: From the least to the most.
    items: list[RoleItem]


class AuditItem(Struct, frozen=True, kw_only=True):
    """One act, noted before it was done, or refused."""

    id: str
    at: datetime
    #: What: `user.create`, `node.drain`, `task.cancel`.
    act: str
    #: On what: a name, an id, or empty.
    target: str
    #: How, in a few words.
    detail: str
    #: Who, by name; None for whom a token file, an open gateway or a host vouches.
    user: str | None
    #: How: as of `/me`, or `host` for a command there.
    known_by: str
    #: The id of the personal token.
    token: str | None
    #: Whence, as the gateway saw it.
    address: str
    #: The gateway, or the host of the command.
    via: str
    request_id: str
    #: Of the answer. None: it began, and nobody knows how it ended.
    status: int | None


class AuditPage(Struct, frozen=True, kw_only=True):
    """A part of the audit log."""

    #: The latest first.
    items: list[AuditItem]
    #: Where the next page begins; None: this is the last.
    next_cursor: str | None
