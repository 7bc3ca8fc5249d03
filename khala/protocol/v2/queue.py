"""The queue: what is next, how much waits, and whose it is."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.ids import TaskId
from khala.protocol.v2.tasks import Place, Placement


class QueueItem(Struct, frozen=True, kw_only=True):
    """A task that an executor could have now."""

    #: Among all that wait, from 1.
    position: int
    id: TaskId
    name: str
    user: int
    priority: int
    #: Null for a task of its own.
    job: Place | None
    created_at: datetime
    waited_s: float
    #: What it takes up of its executor beside a slot.
    needs: dict[str, float]
    #: Empty: the executor's own programs.
    image: str
    placement: Placement = Placement()


class UserLoad(Struct, frozen=True, kw_only=True):
    """The tasks of a user that have not ended."""

    user: int
    queued: int
    held: int
    running: int


class Queue(Struct, frozen=True, kw_only=True):
    """The queue at a moment. Tasks of jobs are in it once they are made, some time ahead of their
    turn."""

    #: Tasks that an executor could have now, up to 10,000.
    queued: int
    #: Tasks that wait for more than an executor, up to 10,000.
    held: int
    #: How long the one has waited that has waited longest of those that are next for what they
    #: need; null if none waits.
    oldest_queued_s: float | None
    #: What is next, in the order in which it is taken: by the date of submission, less a minute for
    #: each point of priority.
    items: list[QueueItem]
    #: Those with the most first, up to 100; of each kind the 5,000 tasks are counted that were
    #: submitted first.
    users: list[UserLoad]
    #: There are tasks behind the last of `items`, or may be.
    more: bool
    #: False: there are more than `queued` says.
    queued_is_exact: bool = True
    held_is_exact: bool = True
    #: All tasks were counted for `users`, and all users are there.
    users_are_exact: bool = True
