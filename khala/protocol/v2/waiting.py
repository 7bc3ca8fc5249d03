"""Why a task waits: in a word, and executor by executor."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from khala.model.task import TaskState
from khala.protocol.v2.attempts import Attempt


class PendingCode(StrEnum):
    """Why a task waits."""

    #: It waits for a date, for other tasks, or for a person to release it.
    HELD = "held"
    #: Its user has as much running, or used as much today, as its quota allows.
    QUOTA = "quota"
    #: No executor is online.
    NO_EXECUTOR = "no_executor"
    #: Executors are online, and none of them has the image.
    NO_IMAGE = "no_image"
    #: Executors are online, and none of them offers the network.
    NO_NETWORK = "no_network"
    #: Those that could run it otherwise are older than something it makes use of.
    OLD_EXECUTOR = "old_executor"
    #: No online executor is what the task needs: labels, image, or all that one has to give.
    NO_FIT = "no_fit"
    #: Executors could run it, and all of their slots are taken.
    NO_SLOT = "no_slot"
    #: Slots are free, but not enough of something that it asks for.
    NO_ROOM = "no_room"
    #: A slot is free; it is about to be given one.
    SOON = "soon"


class EstimatedStart(Struct, frozen=True, kw_only=True):
    """In how many seconds a task starts, if its line moves on as it did in the last minutes: in
    half of such cases by then, and in nine tenths."""

    p50_s: float
    p90_s: float


class Pending(Struct, frozen=True, kw_only=True):
    """Why a queued task waits; a hint, seconds old."""

    #: A client meets words that it does not know.
    code: str
    detail: str
    #: Null where nobody can say: it is held, nothing can run it, too little was seen of its line
    #: lately, or it is too far behind.
    estimated_start: EstimatedStart | None = None


class BlockingCode(StrEnum):
    """Why an executor is not given the task."""

    #: A person holds it, from all of them: no executor is named.
    HELD = "held"
    OFFLINE = "offline"
    #: An operator gives it no new work.
    CORDONED = "cordoned"
    NO_IMAGE = "no_image"
    #: It does not offer the network.
    NO_NETWORK = "no_network"
    #: Older than something that the task makes use of.
    OLD = "old"
    #: A label that the task requires is missing, or one that it avoids is there.
    LABEL = "label"
    #: It has not as much as the task asks for, even if it had nothing else to do.
    TOO_SMALL = "too_small"
    NO_SLOT = "no_slot"
    #: Others have taken too much of it.
    NO_ROOM = "no_room"


class Blocking(Struct, frozen=True, kw_only=True):
    """What keeps executors from being given the task."""

    code: str
    #: What exactly: an image, a label, a resource.
    detail: str
    #: Which; the first few of them, and how many there are.
    nodes: list[str]
    count: int


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a task does not run yet, or why it ended as it did."""

    state: TaskState
    #: In a sentence or two.
    summary: str
    #: By executor; empty for what does not wait for one.
    blocking: list[Blocking] = []
    #: Its place among all that wait, from 1, in the order in which they are taken; null where it is
    #: in no queue, or nobody can say.
    position: int | None = None
    #: False: it is further behind than `position`, which is counted up to 10,000.
    position_is_exact: bool = True
    #: Null where nobody can say.
    estimated_start: EstimatedStart | None = None
    #: Any of these would let it run; the executors that lack one thing only.
    would_run_if: list[str] = []
    #: Of what has ended: when it is removed, and by whose word; null where nobody said anything.
    removal: str | None = None
    #: Its tries so far, the last 33 of them.
    attempts: list[Attempt] = []
