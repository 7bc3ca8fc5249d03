"""What the cluster knows of an executor and of a judicator."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.ids import BootId, ExecutorName, Incarnation, JudicatorName, SessionNo
from khala.model.spec import Network
from khala.model.wants import Amounts, Labels


class SessionState(StrEnum):
    ONLINE = "online"
    #: Silent for longer than its time to live; its leases were or will be requeued.
    LOST = "lost"


class Owner(Struct, frozen=True, kw_only=True):
    """The serving process that holds an executor's session."""

    judicator: JudicatorName
    incarnation: Incarnation


class ImageInfo(Struct, frozen=True, kw_only=True):
    """A root file system that an executor has registered."""

    #: The label that tasks name.
    name: str
    #: Equal on two executors: the same contents.
    identity: str
    size_bytes: int


class Cordon(Struct, frozen=True, kw_only=True):
    """An operator's word that an executor gets no new work, in force until it is taken back."""

    reason: str
    since: datetime
    #: Of a drain: what runs there then is given back and runs elsewhere.
    deadline: datetime | None = None


class ExecutorRecord(Struct, frozen=True, kw_only=True):
    """An executor's row in the store. `id` is a 24-digit id for KV2's clients."""

    name: ExecutorName
    id: str
    session: SessionNo
    boot: BootId
    state: SessionState
    owner: Owner
    slots: int
    version: str
    #: For people ("root, cgroup v1"); what a program may rely on is in `enforces`.
    enforcement: str
    seen_at: datetime
    images: tuple[ImageInfo, ...] = ()
    #: That tasks may have there; none of a version that did not say.
    networks: tuple[Network, ...] = ()
    #: What its host lets it enforce; None of a version that did not say.
    enforces: Enforcement | None = None
    #: Which fields of a task it knows (see `khala.model.capabilities`).
    speaks: int = 0
    #: None: it gets work.
    cordon: Cordon | None = None
    #: When its judicator last noted that it is connected; None: it is not, as far as is known.
    heard_at: datetime | None = None
    capacity: Amounts = {}
    labels: Labels = {}


class CacheCounts(Struct, frozen=True, kw_only=True):
    """An executor's cache of compile stages: what it did since it started, and what it holds."""

    hits: int
    misses: int
    #: Entries made, and entries removed to make room.
    stored: int
    evicted: int
    entries: int
    size_bytes: int
    #: 0: it is turned off.
    max_bytes: int


class JudicatorRecord(Struct, frozen=True, kw_only=True):
    """A judicator as the registry shows it."""

    name: JudicatorName
    #: host:port of its RPC.
    address: str
    incarnation: Incarnation
    leader: bool
