"""The judicators of a cluster: who they are, who joins, who leaves.

POST   /rpc/v1/members          Member -> Entered; repeated until its etcd may start
GET    /rpc/v1/members          -> Roster
DELETE /rpc/v1/members/<name>   -> Roster; it is leaving from now on
GET    /rpc/v1/epoch            -> Epoch; asked before the databases start
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from khala.model.ids import JudicatorName


class Standing(StrEnum):
    #: Its databases are being taken in; it has no vote yet, or only in one of them.
    JOINING = "joining"
    MEMBER = "member"
    #: Its databases are being taken out.
    LEAVING = "leaving"


class Member(Struct, frozen=True, kw_only=True):
    """A judicator and how its parts are reached, each as host:port."""

    name: JudicatorName
    rpc: str
    mongodb: str
    etcd_client: str
    etcd_peer: str
    standing: Standing = Standing.JOINING
    joined_at: datetime | None = None
    #: Of its data, or of the answer with which it joined.
    epoch: int = 0


class Entered(Struct, frozen=True, kw_only=True):
    """`existing`: what its etcd is to be started with; empty until it has been announced there."""

    existing: str
    members: list[Member]


class Epoch(Struct, frozen=True, kw_only=True):
    """How many times the cluster was recovered from a lost majority."""

    number: int


class MemberView(Struct, frozen=True, kw_only=True):
    """A member with what its databases say: `voter`, `learner`, or why not."""

    member: Member
    etcd: str
    mongodb: str


class Roster(Struct, frozen=True, kw_only=True):
    members: list[MemberView]
    #: For people: what is wrong, or about to happen.
    notes: list[str] = []
