"""The cluster: executors, judicators, images, and the line that sums them up."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.executor import CacheCounts, Cordon, ImageInfo, SessionState
from khala.model.spec import Network
from khala.protocol.doctor import Level


class ExecutorNode(Struct, frozen=True, kw_only=True):
    """A host that runs tasks."""

    name: str
    state: SessionState
    slots: int
    #: 0 while nobody knows.
    free: int
    seen_at: datetime
    version: str
    #: What its host lets it enforce; null of an executor that is too old to say.
    enforcement: Enforcement | None
    #: Its cache of compile stages; null while nobody knows.
    cache: CacheCounts | None
    #: Root file systems that tasks may name.
    images: tuple[ImageInfo, ...]
    #: Networks that tasks may ask for there; empty of an executor that is too old to say.
    networks: tuple[Network, ...] = ()
    labels: dict[str, str] = {}
    #: What its tasks may take up together, by name: processors, bytes of memory, counts.
    resources: dict[str, float] = {}
    #: What of it is not taken.
    resources_left: dict[str, float] = {}
    #: Set while an operator lets it have no new work.
    cordon: Cordon | None = None


class NodeWork(Struct, frozen=True, kw_only=True):
    """Whether an executor gets work, and what it has."""

    name: str
    #: Tasks that run there, or are on their way. 0 of one that is cordoned: it can be stopped.
    running: int
    #: Null: it gets work.
    cordon: Cordon | None


class JudicatorNode(Struct, frozen=True, kw_only=True):
    """A member of the control plane."""

    name: str
    address: str
    #: It does the cluster's chores.
    leader: bool
    #: It accepts tasks.
    serving: bool
    #: Empty if it did not answer.
    version: str


class Node(Struct, frozen=True, kw_only=True):
    """What goes by one name: an executor, a judicator, or one of each."""

    name: str
    executor: ExecutorNode | None
    #: Tasks that run on the executor, or are on their way to it.
    running: int
    judicator: JudicatorNode | None


class Finding(Struct, frozen=True, kw_only=True):
    """What one check of the doctor found."""

    check: str
    level: Level
    found: str
    #: The command or the advice that repairs it.
    repair: str | None


class Examination(Struct, frozen=True, kw_only=True):
    """What a running role's host lacks, as `khala.pex doctor` says it."""

    role: str
    at: datetime
    #: Nothing is missing that the role needs.
    able: bool
    findings: list[Finding]


class Examinations(Struct, frozen=True, kw_only=True):
    """The last examination of each role of a node; none while it has not looked."""

    items: list[Examination]


class Nodes(Struct, frozen=True, kw_only=True):
    """Everything that a cluster is made of, but gateways, which nobody needs to know."""

    executors: list[ExecutorNode]
    judicators: list[JudicatorNode]


class Status(Struct, frozen=True, kw_only=True):
    """The cluster in a line."""

    version: str
    #: A task would be accepted now.
    ready: bool
    queued: int
    running: int
    slots: int
    free: int
    #: Sentences for its operator.
    notes: list[str]


class ImageHolder(Struct, frozen=True, kw_only=True):
    """An executor that has an image."""

    executor: str
    state: SessionState
    #: Equal on two executors: the same contents.
    identity: str
    size_bytes: int


class Image(Struct, frozen=True, kw_only=True):
    """A root file system that tasks may name."""

    name: str
    #: A task that names it can run now, or when a slot is free.
    online: bool
    #: Every executor that has it has the same contents.
    uniform: bool
    executors: list[ImageHolder]


class Images(Struct, frozen=True, kw_only=True):
    """All that any executor has registered."""

    images: list[Image]
