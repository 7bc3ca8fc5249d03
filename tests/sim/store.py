"""The memory store behind a bad line: slow, sometimes silent, sometimes late.

A change whose outcome is unknown may not happen, happen, or happen up to three seconds after its
caller was told so; it may also have been repeated meanwhile, as the committer does. An answer can
be on its way so long that the world has moved on. A judicator can be cut off altogether.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from khala.core.ports import PredecessorPort
from khala.model.errors import KhalaError, OutcomeUnknown, Unavailable
from khala.model.executor import ExecutorRecord
from khala.model.holds import HoldKey
from khala.model.ids import AttemptNo, ExecutorName, SessionNo, TaskId
from khala.model.outcome import Cancellation, Outcome
from khala.model.statements import (
    AcceptResult,
    AuditView,
    CancelResult,
    Candidate,
    ExpiredTask,
    FinishItem,
    FinishResult,
    HeldLease,
    HeldTask,
    Lease,
    LeaseItem,
    Lift,
    NewTask,
    OpenedSession,
    OpenSession,
    PatchItem,
    ProgressItem,
    RequeueItem,
    RequeueResult,
    RetryItem,
)
from khala.model.task import Task, TaskState
from khala.store.api import DispatchStore
from khala.store.memory import run_now
from tests.sim.clock import Node, Resume, Suspension
from tests.sim.history import History

Answer = TypeVar("Answer")
Statement = Callable[[], Coroutine[object, object, Answer]]


@dataclass(slots=True)
class Weather:
    """Shared by all: whether anything goes wrong at all."""

    stormy: bool = True


class DoubtfulStore:
    """`khala.core.ports.Store` of one judicator."""

    def __init__(
        self, node: Node, store: DispatchStore, history: History, weather: Weather
    ) -> None:
        self._node = node
        self._store = store
        self._history = history
        self._weather = weather
        #: When it was, or will have been, cut off from a majority.
        self.down_from = 0.0
        self.down_until = 0.0

    def cut_off(self, until: float) -> None:
        self.down_from, self.down_until = self._node.clock.now, until

    # ---- how a statement fares --------------------------------------------------------------

    def do(self, statement: Statement[Answer], task: TaskId | None = None) -> Suspension[Answer]:
        clock = self._node.clock

        def land_late() -> None:
            self._land(statement, task)

        def arrange(resume: Resume[Answer]) -> None:
            if clock.now < self.down_until:
                clock.after(0.5, lambda: resume.fail(Unavailable("no primary")))
                return
            luck = clock.random.random() if self._weather.stormy else 1.0
            if luck < 0.05:
                self._history.counts["in doubt"] += 1
            if luck < 0.03:
                clock.after(clock.random.uniform(0.01, 3), land_late)
            if task is not None and 0.015 < luck < 0.03:
                # And it is tried once more, as the committer does; never S6, which counts.
                self._ask(statement, task, resume)
            elif luck < 0.05:
                clock.after(2, lambda: resume.fail(OutcomeUnknown("timed out")))
            else:
                self._ask(statement, task, resume)

        return Suspension(arrange)

    def _ask(
        self, statement: Statement[Answer], task: TaskId | None, resume: Resume[Answer]
    ) -> None:
        """Executed soon, answered a little later, sometimes much later."""
        clock = self._node.clock

        def execute() -> None:
            answer = self._land(statement, task)
            late = self._weather.stormy and clock.random.random() < 0.05
            delay = clock.random.uniform(0.1, 4) if late else clock.random.uniform(0.001, 0.05)
            if isinstance(answer, KhalaError):
                error = answer
                clock.after(delay, lambda: resume.fail(error))
            else:
                value = answer
                clock.after(delay, lambda: resume.answer(value))

        clock.after(clock.random.uniform(0.001, 0.05), execute)

    def _land(self, statement: Statement[Answer], task: TaskId | None) -> Answer | KhalaError:
        try:
            return run_now(statement())
        except KhalaError as error:
            return error
        finally:
            if task is not None:
                self._history.saw(task)

    # ---- khala.core.ports.Store -------------------------------------------------------------

    async def accept(self, task: NewTask) -> AcceptResult:
        return await self.do(lambda: self._store.accept(task), task.id)

    async def lease_if_queued(self, item: LeaseItem) -> bool:
        return await self.do(lambda: self._store.lease_if_queued(item), item.id)

    async def finish_if_attempt(self, item: FinishItem) -> FinishResult:
        return await self.do(lambda: self._store.finish_if_attempt(item), item.id)

    async def progress_if_leased(self, item: ProgressItem) -> None:
        return await self.do(lambda: self._store.progress_if_leased(item), item.id)

    async def cancel_if_open(
        self, task: TaskId, cancellation: Cancellation | None = None
    ) -> CancelResult:
        return await self.do(lambda: self._store.cancel_if_open(task, cancellation), task)

    async def adopt_if_attempt(self, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool:
        return await self.do(lambda: self._store.adopt_if_attempt(task, attempt, lease), task)

    async def requeue_if_leased_by(self, item: RequeueItem) -> RequeueResult:
        result = await self.do(lambda: self._store.requeue_if_leased_by(item), item.id)
        self._history.counts[f"requeue {result}"] += 1
        return result

    async def retry_if_attempt(self, item: RetryItem) -> bool:
        return await self.do(lambda: self._store.retry_if_attempt(item), item.id)

    async def open_session(self, item: OpenSession) -> OpenedSession:
        async def open_session() -> OpenedSession:
            opened = await self._store.open_session(item)
            self._history.saw_session(item.name, opened.session)
            return opened

        return await self.do(open_session)

    async def expire_session(self, name: ExecutorName, session: SessionNo) -> bool:
        return await self.do(lambda: self._store.expire_session(name, session))

    async def lift_if_held(self, items: Sequence[Lift]) -> None:
        for item in items:  # each lands by itself
            await self.do(partial(self._store.lift_if_held, [item]), item.id)

    async def hold_if_waiting(self, items: Sequence[Lift]) -> None:
        for item in items:  # each lands by itself
            await self.do(partial(self._store.hold_if_waiting, [item]), item.id)

    async def patch_if_next(self, item: PatchItem) -> Task | None:
        self._history.patches.asked[item.claim] = item, self._node.clock.now
        return await self.do(lambda: self._store.patch_if_next(item), item.id)

    async def end_if_waiting(self, task: TaskId, outcome: Outcome) -> bool:
        return await self.do(lambda: self._store.end_if_waiting(task, outcome), task)

    async def find_expired(self, limit: int) -> list[ExpiredTask]:
        return await self.do(lambda: self._store.find_expired(limit))

    async def find_held(self, key: HoldKey, limit: int) -> list[TaskId]:
        return await self.do(lambda: self._store.find_held(key, limit))

    async def page_dependents(self, after: TaskId | None, limit: int) -> list[HeldTask]:
        return await self.do(lambda: self._store.page_dependents(after, limit))

    async def find_due(self, limit: int) -> list[TaskId]:
        return await self.do(lambda: self._store.find_due(limit))

    async def find_queued(self, shape: str, limit: int, older_than_s: float) -> list[Candidate]:
        return await self.do(lambda: self._store.find_queued(shape, limit, older_than_s))

    async def find_shapes(self, after: str, limit: int) -> list[Candidate]:
        return await self.do(lambda: self._store.find_shapes(after, limit))

    async def get(self, task: TaskId) -> Task:
        return await self.do(lambda: self._store.get(task))

    async def leases_of(self, name: ExecutorName, up_to_session: SessionNo) -> list[HeldLease]:
        return await self.do(lambda: self._store.leases_of(name, up_to_session))

    async def audit_own(self, names: Sequence[ExecutorName]) -> AuditView:
        wanted = list(names)
        return await self.do(lambda: self._store.audit_own(wanted))

    async def audit_all(self) -> list[HeldLease]:
        return await self.do(self._store.audit_all)

    async def list_executors(self) -> list[ExecutorRecord]:
        return await self.do(self._store.list_executors)


class DoubtfulPredecessors:
    """`khala.core.ports.PredecessorPort`, on the same line."""

    def __init__(self, line: DoubtfulStore, port: PredecessorPort) -> None:
        self._line = line
        self._port = port

    async def load_states(self, ids: Sequence[TaskId]) -> dict[TaskId, TaskState]:
        return await self._line.do(lambda: self._port.load_states(ids))
