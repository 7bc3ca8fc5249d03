"""The rules of the protocol, each removable: a simulation that never failed proves nothing.

A mutation patches one rule out of the real core (there is no switch for it in the product). Those
with `caught_within` must break a promise within so many seeds. The others do not, and `because`
says what else covers them: they are kept for speed or as a second belt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

import khala.core.agent
import khala.core.ports
from khala.core.agent import Agent
from khala.core.leasing import Leasing
from khala.core.recovery import Recovery
from khala.core.session import Session
from khala.core.sessions import Sessions
from khala.model.errors import KhalaError
from khala.model.ids import AttemptNo, ExecutorName, SessionNo, TaskId
from khala.model.statements import (
    AcceptResult,
    FinishItem,
    FinishResult,
    HeldLease,
    Lease,
    NewTask,
    RequeueItem,
    RequeueResult,
)
from khala.model.task import Dispatch
from khala.protocol.executor import Run, Welcome
from khala.store.memory import MemorySessions
from khala.store.memory_tasks import MemoryTasks
from tests.sim.executor import SimExecutor

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    apply: Callable[[Patch], None]
    #: Seeds, counted from 0, of which one breaks a rule; None if none is known to.
    caught_within: int | None
    #: What the rule is for, or what covers it.
    because: str


def _nothing(*_: object) -> None: ...


async def _nothing_async(*_: object) -> None: ...


def _no_fence(patch: Patch) -> None:
    def finish(self: MemoryTasks, item: FinishItem) -> FinishResult:
        row = self._state.tasks.get(item.id)
        if row is not None and row.task.dispatch is not Dispatch.DONE:
            self._end(row, item.outcome, item.attempt)
        ours = row is not None and row.task.result_attempt == item.attempt
        return FinishResult.RECORDED if ours else FinishResult.STALE

    patch.setattr(MemoryTasks, "_finish", finish)


def _no_late_results(patch: Patch) -> None:
    finish = MemoryTasks._finish

    def finish_leased(self: MemoryTasks, item: FinishItem) -> FinishResult:
        row = self._state.tasks.get(item.id)
        if row is not None and row.task.dispatch is Dispatch.QUEUED:
            return FinishResult.STALE
        return finish(self, item)

    patch.setattr(MemoryTasks, "_finish", finish_leased)


def _no_journal(patch: Patch) -> None:
    def has_started(self: SimExecutor, run: Run) -> bool:
        return False

    patch.setattr(SimExecutor, "has_started", has_started)


def _no_dropped(patch: Patch) -> None:
    patch.setattr(khala.core.agent, "DROPPED_ITEMS", 0)


def _no_resend(patch: Patch) -> None:
    patch.setattr(khala.core.agent, "RESEND_ITEMS", 0)


def _regress(patch: Patch) -> None:
    on_welcome = Agent._on_welcome

    def welcome_any(self: Agent, message: Welcome) -> None:
        self.highest_session = SessionNo(0)
        on_welcome(self, message)

    patch.setattr(Agent, "_on_welcome", welcome_any)


def _no_session_check(patch: Patch) -> None:
    def current(self: Agent, session: SessionNo) -> bool:
        return self.link is khala.core.agent.Link.ONLINE

    patch.setattr(Agent, "_current", current)


def _no_reassign(patch: Patch) -> None:
    def overdue(self: Session, now: float) -> list[Run]:
        return []

    patch.setattr(Session, "overdue", overdue)


def _no_reassign_nor_found(patch: Patch) -> None:
    _no_reassign(patch)
    patch.setattr(Recovery, "_hold_found", _nothing)


def _no_leader_audit(patch: Patch) -> None:
    async def audit_all(self: MemorySessions) -> list[HeldLease]:
        return []

    patch.setattr(MemorySessions, "audit_all", audit_all)


def _no_adoption(patch: Patch) -> None:
    async def adopt(self: MemoryTasks, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool:
        return False

    patch.setattr(MemoryTasks, "adopt_if_attempt", adopt)


def _expire_once(patch: Patch) -> None:
    async def expire(self: Recovery, name: ExecutorName, number: SessionNo) -> None:
        try:
            await self._store.expire_session(name, number)
            leases = await self._store.leases_of(name, number)
        except KhalaError:
            return
        for lease in leases:
            await self._leasing.requeue_lease(lease, crash=True)

    patch.setattr(Recovery, "expire", expire)


def _no_keys(patch: Patch) -> None:
    insert = MemoryTasks._insert

    def insert_always(self: MemoryTasks, item: NewTask) -> AcceptResult | Exception:
        self._state.keys.clear()
        return insert(self, item)

    patch.setattr(MemoryTasks, "_insert", insert_always)


def _no_crash_count(patch: Patch) -> None:
    requeue = MemoryTasks.requeue_if_leased_by

    async def requeue_only(self: MemoryTasks, item: RequeueItem) -> RequeueResult:
        blameless = RequeueItem(
            id=item.id,
            attempt=item.attempt,
            executor=item.executor,
            session=item.session,
            crash=False,
        )
        return await requeue(self, blameless)

    patch.setattr(MemoryTasks, "requeue_if_leased_by", requeue_only)


def _no_greeting(patch: Patch) -> None:
    close = Sessions.close

    def close_late(self: Sessions, conn: int, now: float) -> None:
        name = self.greeting.get(khala.core.ports.Conn(conn))
        close(self, khala.core.ports.Conn(conn), now)
        if name is not None:
            self.greeting[khala.core.ports.Conn(conn)] = name

    patch.setattr(Sessions, "close", close_late)


def _without(owner: type, *names: str) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        for name in names:
            patch.setattr(owner, name, _nothing)

    return apply


def _without_flow(owner: type, name: str) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(owner, name, _nothing_async)


MUTATIONS: dict[str, Mutation] = {
    "nofence": Mutation(apply=_no_fence, caught_within=10, because="R5"),
    "nolate": Mutation(apply=_no_late_results, caught_within=None, because="R6"),
    "nojournal": Mutation(apply=_no_journal, caught_within=10, because="R1"),
    "nodropped": Mutation(apply=_no_dropped, caught_within=10, because="R1"),
    "noresend": Mutation(apply=_no_resend, caught_within=10, because=""),
    "regress": Mutation(apply=_regress, caught_within=None, because="R2"),
    "nosessioncheck": Mutation(apply=_no_session_check, caught_within=None, because="R2"),
    "noreassign": Mutation(apply=_no_reassign, caught_within=None, because="R3"),
    "nofound": Mutation(apply=_without(Recovery, "_hold_found"), caught_within=None, because="R4"),
    "noreassignorfound": Mutation(apply=_no_reassign_nor_found, caught_within=None, because="R4"),
    "nosuperseded": Mutation(
        apply=_without(Recovery, "_drop_superseded"), caught_within=None, because="R4"
    ),
    "noended": Mutation(apply=_without(Recovery, "_drop_ended"), caught_within=None, because="R4"),
    "nounknown": Mutation(
        apply=_without(Recovery, "_expire_unknown"), caught_within=None, because="R4"
    ),
    "noleaderaudit": Mutation(apply=_no_leader_audit, caught_within=None, because="S10"),
    "noorphans": Mutation(
        apply=_without_flow(Recovery, "_expire_orphaned"), caught_within=None, because="S10"
    ),
    "noadoption": Mutation(apply=_no_adoption, caught_within=None, because="S7"),
    "noolder": Mutation(
        apply=_without_flow(Recovery, "_requeue_older"), caught_within=None, because="S7"
    ),
    "expireonce": Mutation(apply=_expire_once, caught_within=None, because="S9"),
    "noexplain": Mutation(apply=_without_flow(Leasing, "explain"), caught_within=None, because=""),
    "nokeys": Mutation(apply=_no_keys, caught_within=None, because="I6"),
    "nocrashcount": Mutation(apply=_no_crash_count, caught_within=None, because=""),
    "nogreeting": Mutation(apply=_no_greeting, caught_within=None, because=""),
    "noforgive": Mutation(apply=_without(Sessions, "forgive"), caught_within=None, because=""),
}
