"""The Judicator's picture of one executor session: which leases it holds, how much fits.

A lease stays in `held` from the moment it is asked of the store until its result is recorded,
its requeue is known, or the session ends. "Seen once in an inventory" must not end the tracking
(R3): an executor that loses an assignment later would otherwise keep a task for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from khala.core.ports import Conn
from khala.model.executor import CacheCounts
from khala.model.ids import BootId, ExecutorName, SessionNo
from khala.model.limits import REASSIGN_S, RECONNECT_GRACE_S, SESSION_TTL_S
from khala.model.statements import Candidate
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


@dataclass(slots=True)
class Session:
    """Changed through `khala.core.sessions.Sessions` alone, which keeps its indexes right."""

    name: ExecutorName
    number: SessionNo
    boot: BootId
    slots: int
    last_seen_at: float
    conn: Conn | None
    #: Of the tasks that it can run.
    shapes: tuple[str, ...] = ("",)
    closed_at: float | None = None
    #: False while the executor takes no work (stopping, disk full, spool full) or rests.
    accepts: bool = True
    #: Attempts it lost since its last result.
    losses: int = 0
    #: It is given nothing before (see `LOSSES_MAX`).
    rests_until: float = 0.0
    held: dict[Run, Held] = field(default_factory=dict)
    #: Held leases that occupy a slot, or wait for one.
    used: int = 0
    #: Attempts it may be given beyond its slots (see `SHORT_ATTEMPT_S`).
    ahead: int = 0
    #: Runs of the last inventory that no lease explains; asked of the store when seen twice.
    strays: set[Run] = field(default_factory=set)
    #: As the last heartbeat told it; for people.
    cache: CacheCounts | None = None

    @property
    def free(self) -> int:
        """Slots that would start an attempt at once."""
        if self.conn is None or not self.accepts:
            return 0
        return max(0, self.slots - self.used)

    @property
    def takes_ahead(self) -> bool:
        """It would keep one more attempt waiting, and not for long."""
        return self.conn is not None and self.accepts and self.used < self.slots + self.ahead

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
