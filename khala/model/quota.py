"""How much of the cluster one user may have: an operator's word, and what is used of it.

A quota of tasks that wait or of stored bytes refuses what would exceed it. One of tasks that run or
of processor time accepts and lets wait: tasks that may not run yet are held under `QUOTA`, apart
from the queue, so they stand in nobody's way.
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.holds import HoldKey
from khala.model.ids import TaskId

#: The condition of what its user's quota keeps from running.
QUOTA = HoldKey("quota")


class Quota(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one user; None: no bound."""

    #: Tasks that have been accepted and do not run, those of jobs included.
    queued: int | None = None
    running: int | None = None
    #: Processor time of the tasks that ended since midnight, UTC.
    cpu_s: int | None = None
    #: Documents and outputs of tasks, without blobs.
    size_bytes: int | None = None

    @property
    def holds(self) -> bool:
        """Its tasks are accepted as held."""
        return self.running is not None or self.cpu_s is not None


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user has of it now; None: nobody counts, because nothing bounds it."""

    queued: int | None = None
    running: int | None = None
    cpu_s: float | None = None
    size_bytes: int | None = None


class Turn(Struct, frozen=True, kw_only=True):
    """One decision on what of a user's may run: its number, and what is lifted by it."""

    number: int = 0
    tasks: tuple[TaskId, ...] = ()


class Quotas(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of everybody."""

    default: Quota = Quota()
    users: dict[int, Quota] = {}

    def of(self, user: int) -> Quota:
        return self.users.get(user, self.default)

    @property
    def on(self) -> bool:
        return any(each != Quota() for each in (self.default, *self.users.values()))
