"""The Judicator's picture of one executor session: which leases it holds, how much fits.

A lease stays in `held` from the moment it is asked of the store until its result is recorded,
its requeue is known, or the session ends. "Seen once in an inventory" must not end the tracking
(R3): an executor that loses an assignment later would otherwise keep a task for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from khala.core.ports import Conn
from khala.model.executor import CacheCounts, Cordon
from khala.model.ids import BootId, ExecutorName, SessionNo
from khala.model.limits import REASSIGN_S, RECONNECT_GRACE_S, SESSION_TTL_S
from khala.model.spec import TaskSpec
from khala.model.statements import Candidate
from khala.model.wants import Amounts, Wants, shortages
from khala.protocol.executor import Run


@dataclass(slots=True)
class Held:
    """One lease of a session."""

    #: None for a lease found by an audit or adopted, until it has to be assigned again.
    task: Candidate | None
    #: When the executor last showed it, or was last told of it.
    seen_at: float
    #: The store has not confirmed the lease yet: count it, do not assign it again.
    pending: bool = False
    #: Its result is spooled: the slot is free, the lease is not.
    finished: bool = False
    #: When it was asked of the store; None if this process did not.
    reserved_at: float | None = None
    #: The `started_at` that the store was given with it.
    started_at: datetime | None = None

    @property
    def amounts(self) -> Mapping[str, int] | None:
        """What it takes up of its executor; None if nobody here knows."""
        if self.finished:
            return {}
        return None if self.task is None else self.task.spec.wants.amounts


@dataclass(slots=True)
class Session:
    """Changed through `khala.core.sessions.Sessions` alone, which keeps its indexes right."""

    name: ExecutorName
    number: SessionNo
    boot: BootId
    slots: int
    last_seen_at: float
    conn: Conn | None
    #: Of the tasks that it can run, as far as images and versions decide that.
    shapes: tuple[str, ...] = ("",)
    #: What its tasks may take up together, and what those that it holds do.
    capacity: Mapping[str, int] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    #: Held leases of which nobody here knows what they take up.
    unknown: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Kept free for tasks of this shape, which would wait for ever if others were given each bit
    #: that becomes free.
    kept_for: str | None = None
    closed_at: float | None = None
    #: False while the executor takes no work (stopping, disk full, spool full) or rests.
    accepts: bool = True
    #: An operator wants it to get no new work, and to be empty at a certain time.
    cordon: Cordon | None = None
    #: Attempts it lost since its last result.
    losses: int = 0
    #: It is given nothing before (see `LOSSES_MAX`).
    rests_until: float = 0.0
    held: dict[Run, Held] = field(default_factory=dict)
    #: Held leases that occupy a slot, or wait for one.
    used: int = 0
    #: Runs that were cancelled and have time to end, and what these take up.
    ending: int = 0
    ending_amounts: Mapping[str, int] = field(default_factory=dict)
    #: Attempts it may be given beyond its slots (see `SHORT_ATTEMPT_S`).
    ahead: int = 0
    #: Runs of the last inventory that no lease explains; asked of the store when seen twice.
    strays: set[Run] = field(default_factory=set)
    #: As the last heartbeat told it; for people.
    cache: CacheCounts | None = None

    @property
    def free(self) -> int:
        """Slots that would start an attempt at once."""
        if self.kept_for is not None:
            return 0
        return self.slots_left

    @property
    def slots_left(self) -> int:
        """As `free`, for the shape that it is kept for."""
        if not self.takes_work:
            return 0
        return max(0, self.slots - self.used - self.ending)

    @property
    def takes_ahead(self) -> bool:
        """It would keep one more attempt waiting, and not for long."""
        if not self.takes_work or self.kept_for is not None:
            return False
        return self.used + self.ending < self.slots + self.ahead

    def suits(self, spec: TaskSpec) -> bool:
        """It could be given such a task if it had nothing else to do."""
        wants = spec.wants
        return (
            spec.base in self.shapes
            and wants.welcome_at(self.labels)
            and not shortages(wants.amounts, self.capacity)
        )

    def can_take(self, spec: TaskSpec) -> bool:
        """Such a task could be given to it now."""
        kept = self.kept_for is not None and self.kept_for == spec.shape
        room = self.slots_left if kept else self.free or self.takes_ahead
        return bool(room) and self.suits(spec) and self.fits(spec.wants)

    def fits(self, wants: Wants) -> bool:
        """What it has left is enough."""
        if not wants.amounts:
            return True
        return not shortages(wants.amounts, self.left)

    @property
    def left(self) -> Amounts:
        """Of its capacity; nothing as long as nobody knows what some lease takes up."""
        if self.unknown:
            return {}
        ending = self.ending_amounts
        return {
            name: amount - self.taken[name] - ending.get(name, 0)
            for name, amount in self.capacity.items()
        }

    def count(self, held: Held, sign: int) -> None:
        """Add (1) or take away (-1) what a held lease occupies."""
        self.used += sign * (not held.finished)
        if held.amounts is None:
            self.unknown += sign
        for name, amount in (held.amounts or {}).items():
            self.taken[name] += sign * amount

    @property
    def takes_work(self) -> bool:
        return self.conn is not None and self.accepts and self.cordon is None

    def expires_at(self) -> float:
        """Later than the executor's own view of the same session (it counts from what it SENT
        and without grace), so that it knows first; needed to avoid waste, not for safety."""
        silent = self.last_seen_at + SESSION_TTL_S + RECONNECT_GRACE_S
        if self.closed_at is None:
            return silent
        return min(silent, self.closed_at + RECONNECT_GRACE_S)

    def overdue(self, now: float) -> list[Run]:
        """Leases that the executor should have shown by now and has not."""
        return [
            run
            for run, held in self.held.items()
            if not held.pending and now - held.seen_at > REASSIGN_S
        ]
