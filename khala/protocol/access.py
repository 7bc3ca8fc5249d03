"""Users, personal tokens, sessions, tickets and the audit log, between gateways or commands and
judicators.

POST   /rpc/v1/identify              Identify -> Identified; each gateway believes it for seconds
POST   /rpc/v1/users                 MakeUser -> UserMade
GET    /rpc/v1/users                 -> UserList
PATCH  /rpc/v1/users/<name>          ChangeUser -> User
DELETE /rpc/v1/users/<name>          -> UserList, of those that are left
POST   /rpc/v1/pats                  MakePat -> PatMade
GET    /rpc/v1/pats?user=            -> PatList; without a user the latest of all
DELETE /rpc/v1/pats/<id>?user=       -> PatList, of the same user's that are left; its sessions end
POST   /rpc/v1/sessions              OpenSession -> SessionOpened
DELETE /rpc/v1/sessions/<id>         -> 204; also for one that is not there
POST   /rpc/v1/tickets               MakeTicket -> TicketMade
POST   /rpc/v1/tickets/use           UseTicket -> TicketUsed; it is gone then
POST   /rpc/v1/audit                 AuditEntry -> AuditKept; before the act
POST   /rpc/v1/audit/<id>/outcome    AuditOutcome -> 204; after it
POST   /rpc/v1/audit/list            AuditQuery -> AuditPage

A secret leaves a gateway as its SHA-256 alone, and is stored as that; a secret of 256 random bits
needs nothing slower.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.access import AccessToken, Identity, Role, User
from khala.model.tokens import Shown


class Identify(Struct, frozen=True, kw_only=True):
    """What was shown: `kh_pat_ID_SECRET`, or a session's `kh_ses_ID_SECRET`. Empty: nothing was,
    and all that is asked is whether the cluster has users."""

    id: str = ""
    hash: str = ""


class Identified(Struct, frozen=True, kw_only=True):
    #: The cluster has users, so that whoever shows nothing is nobody.
    has_users: bool
    #: None: unknown, expired, revoked, or its user is disabled.
    identity: Identity | None = None


class NewPat(Struct, frozen=True, kw_only=True):
    name: str
    ttl_s: float
    #: None: its user's.
    role: Role | None = None


class MakeUser(Struct, frozen=True, kw_only=True):
    """The cluster's first user must be an administrator with a token: someone must be able to go
    on."""

    name: str
    role: Role
    #: None: the next one.
    number: int | None = None
    pat: NewPat | None = None


class UserMade(Struct, frozen=True, kw_only=True):
    user: User
    #: The whole token, once.
    secret: str | None = None
    pat: AccessToken | None = None


class UserList(Struct, frozen=True, kw_only=True):
    users: list[User]


class ChangeUser(Struct, frozen=True, kw_only=True):
    """None leaves it as it is. The last administrator that is not disabled stays one."""

    role: Role | None = None
    disabled: bool | None = None


class MakePat(Struct, frozen=True, kw_only=True):
    user: str
    pat: NewPat


class PatMade(Struct, frozen=True, kw_only=True):
    #: The whole token, once.
    secret: str
    pat: AccessToken


class PatList(Struct, frozen=True, kw_only=True):
    """Those that have not expired, the latest first."""

    pats: list[AccessToken]
    #: Of all users there are older ones.
    more: bool = False


class OpenSession(Struct, frozen=True, kw_only=True):
    """With a personal token; the session allows what the token does, and ends with it."""

    id: str
    hash: str
    ttl_s: float


class SessionOpened(Struct, frozen=True, kw_only=True):
    #: The cookie's value, once.
    secret: str
    expires_at: datetime


class MakeTicket(Struct, frozen=True, kw_only=True):
    """Of a ticket that a gateway has written; it stands for what its maker showed."""

    id: str
    #: Or its seal (`khala.model.tokens`), of who is known by a gateway's own token.
    hash: str
    #: None: no token and no session of the cluster's.
    by: Shown | None = None


class TicketMade(Struct, frozen=True, kw_only=True):
    expires_at: datetime


class UseTicket(Struct, frozen=True, kw_only=True):
    id: str
    #: Any of these may be its own: nobody sees how it was made.
    hashes: list[str]


class TicketUsed(Struct, frozen=True, kw_only=True):
    #: Its own of those that were given; None: there is no such ticket, or not any more.
    hash: str | None = None
    by: Shown | None = None
    #: Of `by`, as of now; None: that does not hold any more, or is none.
    identity: Identity | None = None


class AuditEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act that is about to be done, or was refused."""

    #: `user.create`, `node.drain`, `task.cancel`: what, by a closed list of the documents.
    act: str
    #: On what: a name or an id, at most 200 characters.
    target: str = ""
    #: A sentence's worth of how, never a secret; at most 500 characters.
    detail: str = ""
    #: The user's name; None for whom a token file, an open gateway or a host vouches.
    user: str | None = None
    #: How they were known: `token`, `session`, `token_file`, `open`, or `host` for a command there.
    known_by: str = ""
    #: Of the personal token.
    token: str | None = None
    #: Of the peer, as the gateway saw it.
    address: str = ""
    #: The gateway, or the host of the command.
    via: str = ""
    request_id: str = ""


class AuditKept(Struct, frozen=True, kw_only=True):
    id: str


class AuditOutcome(Struct, frozen=True, kw_only=True):
    #: Of HTTP; for a command 200, or what the refusal is.
    status: int


class AuditQuery(Struct, frozen=True, kw_only=True):
    """The latest first."""

    limit: int = 50
    #: Of the last entry of the page before.
    before: str | None = None
    user: str | None = None
    act: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    at: datetime
    entry: AuditEntry
    #: None: the act began, and nobody said how it ended.
    status: int | None = None


class AuditPage(Struct, frozen=True, kw_only=True):
    rows: list[AuditRow]
    more: bool = False
