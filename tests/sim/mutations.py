"""The rules of the protocol, each removable: a simulation that never failed proves nothing.

A mutation patches one rule out of the real core (there is no switch for it in the product). Those
with `within` must break a promise within so many seeds. For the others `covered` says what else
holds when they are gone: they are kept for speed or as a second belt, or their absence shows so
rarely that a unit test stands for it.
"""

from __future__ import annotations

import khala.core.agent
from khala.core.agent import Agent
from khala.core.audits import LeadersAudit, OwnersAudit
from khala.core.leasing import Leasing
from khala.core.opening import Opening
from khala.core.ports import Conn
from khala.core.returns import Returns
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
from tests.sim.job_mutations import JOB_MUTATIONS
from tests.sim.mutation import Mutation, Patch, without, without_flow
from tests.sim.order_mutations import ORDER_MUTATIONS
from tests.sim.patch_mutations import PATCH_MUTATIONS
from tests.sim.retry_mutations import RETRY_MUTATIONS


def _no_fence(patch: Patch) -> None:
    def finish(self: MemoryTasks, item: FinishItem) -> FinishResult:
        row = self._state.tasks.get(item.id)
        if row is not None and row.task.dispatch is not Dispatch.DONE:
            row.end(item.outcome, item.attempt, self._state.now())
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


def _no_leader_audit(patch: Patch) -> None:
    async def audit_all(self: MemorySessions) -> list[HeldLease]:
        return []

    patch.setattr(MemorySessions, "audit_all", audit_all)


def _no_adoption(patch: Patch) -> None:
    async def adopt(self: MemoryTasks, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool:
        return False

    patch.setattr(MemoryTasks, "adopt_if_attempt", adopt)


def _expire_once(patch: Patch) -> None:
    async def expire(self: Returns, name: ExecutorName, number: SessionNo) -> None:
        try:
            await self._store.expire_session(name, number)
            leases = await self._store.leases_of(name, number)
        except KhalaError:
            return
        for lease in leases:
            await self.requeue_lease(lease, crash=True)

    patch.setattr(Returns, "expire", expire)


def _no_keys(patch: Patch) -> None:
    insert = MemoryTasks._insert

    def insert_always(self: MemoryTasks, item: NewTask) -> AcceptResult | Exception:
        self._state.keys.clear()
        return insert(self, item)

    patch.setattr(MemoryTasks, "_insert", insert_always)


def _one_member(patch: Patch) -> None:
    insert = MemoryTasks._insert

    def insert_mostly(self: MemoryTasks, item: NewTask) -> AcceptResult | Exception:
        if int(item.id, 16) % 12 == 0:
            return AcceptResult(id=item.id, replay=False)
        return insert(self, item)

    patch.setattr(MemoryTasks, "_insert", insert_mostly)


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

    def close_late(self: Sessions, conn: Conn, now: float) -> None:
        name = self.greeting.get(conn)
        close(self, conn, now)
        if name is not None:
            self.greeting[conn] = name

    patch.setattr(Sessions, "close", close_late)


MUTATIONS: dict[str, Mutation] = {
    "nofence": Mutation(
        apply=_no_fence,
        within=20,
        rule="R5: a result is recorded only while its attempt is the document's",
    ),
    "nojournal": Mutation(
        apply=_no_journal,
        within=100,
        rule="R1: an attempt in the started-journal is answered Dead",
    ),
    "noreassign": Mutation(
        apply=_no_reassign,
        within=40,
        rule="R3: a held lease that no inventory shows is assigned again",
    ),
    "nofound": Mutation(
        apply=without(OwnersAudit, "_hold_found"),
        within=60,
        rule="R4: the owner's audit finds leases that landed late",
    ),
    "nosuperseded": Mutation(
        apply=without(OwnersAudit, "_drop_superseded"),
        within=60,
        rule="R4: the owner's audit ends sessions that the store no longer has",
    ),
    "noended": Mutation(
        apply=without(OwnersAudit, "_drop_ended"),
        within=20,
        rule="R4: the owner's audit lets go of leases that others ended",
    ),
    "noexplain": Mutation(
        apply=without_flow(Leasing, "explain"),
        within=20,
        rule="a run that no lease explains is adopted or killed",
    ),
    "noleaderaudit": Mutation(
        apply=_no_leader_audit,
        within=100,
        rule="S10: leases under sessions that are nobody's are requeued",
    ),
    "noorphans": Mutation(
        apply=without_flow(LeadersAudit, "_expire_orphaned"),
        within=100,
        rule="S9: the leader expires the sessions of judicators that are gone",
    ),
    "noolder": Mutation(
        apply=without_flow(Opening, "_requeue_older"),
        within=60,
        rule="S8: a Hello of a new boot counts what died with the old one",
    ),
    "nocrashcount": Mutation(
        apply=_no_crash_count,
        within=60,
        rule="P3: a task that kills its executors is given up",
    ),
    "noresend": Mutation(
        apply=_no_resend,
        within=20,
        rule="a spooled result is sent again with every heartbeat",
    ),
    "nokeys": Mutation(apply=_no_keys, within=20, rule="P2: one task for each idempotency key"),
    "w1": Mutation(
        apply=_one_member,
        within=20,
        rule="P1: what is answered is with a majority, and no election takes it back",
    ),
    "nogreeting": Mutation(
        apply=_no_greeting,
        within=20,
        rule="a session is not attached to a connection that is gone",
    ),
    "nodropped": Mutation(
        apply=_no_dropped,
        within=None,
        rule="R1: what was dropped in a session stays dropped",
        covered="rare; test_agent.py: test_what_was_recorded_does_not_come_back",
    ),
    "expireonce": Mutation(
        apply=_expire_once,
        within=None,
        rule="S9 is repeated until its outcome is known",
        covered="rare; test_recovery.py: test_expiry_is_repeated_until_it_is_known",
    ),
    "nounknown": Mutation(
        apply=without(OwnersAudit, "_expire_unknown"),
        within=None,
        rule="a session that was opened unseen is lost in the end",
        covered="rare; test_recovery.py: test_a_session_that_was_opened_unseen_is_lost_in_the_end",
    ),
    "noforgive": Mutation(
        apply=without(Sessions, "forgive"),
        within=None,
        rule="a judicator's own pause is nobody's silence",
        covered="costs reruns; test_recovery.py: test_the_judicators_own_pause_is_nobodys_silence",
    ),
    "nolate": Mutation(
        apply=_no_late_results,
        within=None,
        rule="R6: a late result counts while its number stands",
        covered="costs reruns",
    ),
    "noadoption": Mutation(
        apply=_no_adoption,
        within=None,
        rule="S7: what an executor brings along goes on",
        covered="costs reruns",
    ),
    "regress": Mutation(
        apply=_regress,
        within=None,
        rule="R2: a Welcome must be above every session seen",
        covered="one Hello and so one Welcome a connection",
    ),
    "nosessioncheck": Mutation(
        apply=_no_session_check,
        within=None,
        rule="R2: orders of another session are ignored",
        covered="one session a connection",
    ),
    **ORDER_MUTATIONS,
    **JOB_MUTATIONS,
    **RETRY_MUTATIONS,
    **PATCH_MUTATIONS,
}
