"""The queue between gateways and judicators: what is next, how much waits, and whose it is.

POST /rpc/v1/queue         ReadQueue -> QueueView
GET  /rpc/v1/queue/<task>  -> QueuePlace
GET  /rpc/v1/ahead/<task>  -> QueuePlace, which has no position
GET  /rpc/v1/lines         -> QueueLines
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.ids import TaskId
from khala.model.spec import Member
from khala.model.statements import Candidate
from khala.model.wants import Wants


class ReadQueue(Struct, frozen=True, kw_only=True):
    #: Only what is this user's; the places are those among all.
    user: int | None = None
    limit: int


class QueuedTask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One that an executor could have now."""

    #: Among all that wait, from 1.
    position: int
    id: TaskId
    user: int
    submitted_at: datetime
    name: str = ""
    priority: int = 0
    image: str = ""
    wants: Wants = Wants()
    #: None for a task of its own.
    member: Member | None = None


class QueueHead(Struct, frozen=True, kw_only=True):
    """The tasks that are next, in the order in which they are taken."""

    tasks: list[QueuedTask]
    #: There are others behind these, or may be.
    more: bool
    #: When the one was submitted that has waited longest of those that are next for their shape.
    oldest: datetime | None = None


class QueueTotals(Struct, frozen=True, kw_only=True):
    """Up to `LIST_TOTAL_MAX` each; there may be more where that is not exact."""

    queued: int
    queued_is_exact: bool
    held: int
    held_is_exact: bool


class UserLoad(Struct, frozen=True, kw_only=True):
    user: int
    queued: int = 0
    held: int = 0
    running: int = 0

    @property
    def total(self) -> int:
        return self.queued + self.held + self.running


class UserLoads(Struct, frozen=True, kw_only=True):
    """Whose tasks wait and run, those with the most first."""

    users: list[UserLoad]
    #: Every task was looked at, and every user is there.
    exact: bool


class QueueView(Struct, frozen=True, kw_only=True):
    head: QueueHead
    totals: QueueTotals
    loads: UserLoads


class QueueLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tasks that wait and want the same of an executor."""

    #: The next one of them.
    first: Candidate
    queued: int
    #: False: there are more.
    exact: bool = True


class QueueLines(Struct, frozen=True, kw_only=True):
    """Those first whose next task is."""

    lines: list[QueueLine]
    #: There are other lines.
    more: bool


class QueuePlace(Struct, frozen=True, kw_only=True):
    """Where a task stands."""

    #: From 1; None if it is not in the queue.
    position: int | None
    #: False: it is further behind than that.
    exact: bool = True
    #: How many of those that want the same of an executor are before it; None: not in the queue, or
    #: more than were counted.
    ahead: int | None = None
