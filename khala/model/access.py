"""Who asks, and what they may do: users, their roles, and the tokens that speak for them.

Roles are a ladder, each may do what the ones below it may. A token never allows more than its user
may at the moment it is shown, and may allow less. Whoever has no name (the token file's holder, or
anyone at an open gateway) is what the operator of that gateway made them: an administrator.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Role(StrEnum):
    """From the least to the most."""

    #: Reads everything but what is an administrator's.
    VIEWER = "viewer"
    #: Submits, and changes what is its own.
    SUBMITTER = "submitter"
    #: Changes anybody's tasks, presets and nodes, and submits for others.
    OPERATOR = "operator"
    #: Users, tokens, the audit log, and what lets nodes join or data leave.
    ADMIN = "admin"

    def may(self, needed: Role) -> bool:
        """Whether this role includes `needed`."""
        ladder = list(Role)
        return ladder.index(self) >= ladder.index(needed)


class User(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person or a program. Its tasks carry its number, which is KV2's `user`."""

    name: str
    #: 0 to 2147483647; no other user's, and never given again by itself.
    number: int
    role: Role
    created_at: datetime
    #: Its tokens are refused; its tasks go on.
    disabled: bool = False


class AccessToken(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A personal token as the cluster knows it, which is without its secret."""

    #: 12 hexadecimal digits; no secret.
    id: str
    user: str
    #: For people: what it is for.
    name: str
    #: The most that it allows.
    role: Role
    created_at: datetime
    expires_at: datetime
    #: A minute or so behind. None: never.
    used_at: datetime | None = None


class Identity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asks. Without a name: whom the gateway's own token, or its loopback, vouches for."""

    role: Role
    name: str | None = None
    number: int | None = None
    #: Of the token that was shown, or of the one that the session began with.
    token: str | None = None
    expires_at: datetime | None = None
