"""Tasks whose date has come join the queue, and tasks that waited too long leave it.

Every judicator looks, and no leader is needed: a lift is a compare-and-set, so two that lift the
same task do what one would have done. Other conditions of holds are lifted through here as well, so
that what joins the queue by it is looked for at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from khala.core.leasing import Leasing
from khala.core.ports import Comm, Store
from khala.model.errors import KhalaError
from khala.model.ids import TaskId
from khala.model.limits import DUE_INTERVAL_S, DUE_ITEMS, EXPIRY_INTERVAL_S
from khala.model.outcome import Outcome
from khala.model.statements import Lift, waited_too_long


class Holding:
    """Feeds the store's queue; one look at a time."""

    def __init__(self, leasing: Leasing, store: Store, comm: Comm) -> None:
        self._leasing = leasing
        self._store = store
        self._comm = comm
        self._next_look_at = 0.0
        self._looking = False
        self._next_expiry_at = 0.0
        self._expiring = False

    def on_tick(self) -> None:
        now = self._comm.now()
        if self._leasing.serving and not self._expiring and now >= self._next_expiry_at:
            self._expiring = True
            self._next_expiry_at = now + EXPIRY_INTERVAL_S
            self._comm.spawn(self._end_expired())
        if self._leasing.serving and not self._looking and now >= self._next_look_at:
            self._looking = True
            self._next_look_at = now + DUE_INTERVAL_S
            self._comm.spawn(self._release_due())

    async def _release_due(self) -> None:
        try:
            due = await self._store.find_due(DUE_ITEMS)
            if due:
                await self.lift([Lift(id=task) for task in due])
            if len(due) == DUE_ITEMS:
                self._next_look_at = 0.0  # there is more
        except KhalaError:
            pass  # the next look is DUE_INTERVAL_S away
        finally:
            self._looking = False

    async def _end_expired(self) -> None:
        """S13, for what no attempt of has begun in time."""
        try:
            expired = await self._store.find_expired(DUE_ITEMS)
            for task in expired:
                await self.end(task.id, waited_too_long(task.queue_ttl_s))
            if len(expired) == DUE_ITEMS:
                self._next_expiry_at = 0.0  # there is more
        except KhalaError:
            pass  # the next look is EXPIRY_INTERVAL_S away
        finally:
            self._expiring = False

    async def end(self, task: TaskId, outcome: Outcome) -> None:
        """S13, unless an attempt has begun or somebody was faster."""
        if await self._store.end_if_waiting(task, outcome):
            self._leasing.ready.discard(task)
            self._comm.touched(task)

    async def hold(self, holds: Sequence[Lift]) -> None:
        """S25, and what waited for a slot here does so no more."""
        await self._store.hold_if_waiting(holds)
        for each in holds:
            self._leasing.ready.discard(each.id)
            self._comm.touched(each.id)

    async def lift(self, lifts: Sequence[Lift]) -> None:
        """S12, and what has joined the queue by it is looked for."""
        await self._store.lift_if_held(lifts)
        self._leasing.returns.unscanned = True
        for task in dict.fromkeys(each.id for each in lifts):
            self._comm.touched(task)
