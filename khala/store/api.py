"""One object with every statement that dispatch needs, over any store.

`khala.core` sees a single Store port whose statements take one item each; whether an item then
travels alone (`Direct`: tests, the simulator) or in a batch with others (`Committer`: the
cluster) is decided by the lanes given here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from khala.model.errors import InvariantBroken
from khala.model.executor import ExecutorRecord
from khala.model.holds import HoldKey
from khala.model.ids import AttemptNo, ExecutorName, SessionNo, TaskId
from khala.model.live import LiveChunk
from khala.model.outcome import Cancellation, Outcome, Stream, StreamRef
from khala.model.statements import (
    AcceptResult,
    AuditView,
    CancelResult,
    Candidate,
    ChunkItem,
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
from khala.model.task import Task
from khala.store.protocols import (
    HoldStore,
    Lanes,
    LiveStore,
    OutputStore,
    SessionStore,
    TaskStore,
)

Answer = TypeVar("Answer")


class Direct:
    """Lanes without batching: every item is its own round trip."""

    def __init__(self, tasks: TaskStore, outputs: OutputStore, live: LiveStore) -> None:
        self._tasks = tasks
        self._outputs = outputs
        self._live = live

    async def accept(self, item: NewTask) -> AcceptResult:
        return only(await self._tasks.insert_if_new([item]))

    async def lease(self, item: LeaseItem) -> bool:
        return only(await self._tasks.lease_if_queued([item]))

    async def progress(self, item: ProgressItem) -> None:
        await self._tasks.progress_if_leased([item])

    async def finish(self, item: FinishItem) -> FinishResult:
        return only(await self._tasks.finish_if_attempt([item]))

    async def output(self, item: ChunkItem) -> None:
        await self._outputs.put_chunks([item])

    async def live(self, item: LiveChunk) -> None:
        await self._live.put_live([item])


def only(answers: Sequence[Answer | Exception]) -> Answer:
    """The answer to a single item, raised if it is an exception."""
    if len(answers) != 1:
        raise InvariantBroken(f"{len(answers)} answers to one item")
    answer = answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


class DispatchStore:
    """`khala.core.ports.Store`."""

    def __init__(
        self, tasks: TaskStore, sessions: SessionStore, holds: HoldStore, lanes: Lanes
    ) -> None:
        self._tasks = tasks
        self._sessions = sessions
        self._holds = holds
        self._lanes = lanes

    async def accept(self, task: NewTask) -> AcceptResult:
        return await self._lanes.accept(task)

    async def lease_if_queued(self, item: LeaseItem) -> bool:
        return await self._lanes.lease(item)

    async def finish_if_attempt(self, item: FinishItem) -> FinishResult:
        return await self._lanes.finish(item)

    async def progress_if_leased(self, item: ProgressItem) -> None:
        await self._lanes.progress(item)

    async def cancel_if_open(
        self, task: TaskId, cancellation: Cancellation | None = None
    ) -> CancelResult:
        return await self._tasks.cancel_if_open(task, cancellation)

    async def adopt_if_attempt(self, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool:
        return await self._tasks.adopt_if_attempt(task, attempt, lease)

    async def requeue_if_leased_by(self, item: RequeueItem) -> RequeueResult:
        return await self._tasks.requeue_if_leased_by(item)

    async def retry_if_attempt(self, item: RetryItem) -> bool:
        """S21. What is remembered of a result has its outputs in chunks, stored before it."""
        streams: dict[Stream, StreamRef] = {}
        for stream, ref in item.outcome.streams.items():
            streams[stream] = StreamRef(size_bytes=ref.size_bytes)
            if ref.inline:
                await self._lanes.output(
                    ChunkItem(id=item.id, attempt=item.attempt, stream=stream, n=0, data=ref.inline)
                )
        outcome = replace(item.outcome, streams=streams)
        return await self._tasks.retry_if_attempt(replace(item, outcome=outcome))

    async def patch_if_next(self, item: PatchItem) -> Task | None:
        return await self._tasks.patch_if_next(item)

    async def lift_if_held(self, items: Sequence[Lift]) -> None:
        await self._holds.lift_if_held(items)

    async def hold_if_waiting(self, items: Sequence[Lift]) -> None:
        await self._holds.hold_if_waiting(items)

    async def end_if_waiting(self, task: TaskId, outcome: Outcome) -> bool:
        return await self._holds.end_if_waiting(task, outcome)

    async def find_expired(self, limit: int) -> list[ExpiredTask]:
        return await self._holds.find_expired(limit)

    async def find_held(self, key: HoldKey, limit: int) -> list[TaskId]:
        return await self._holds.find_held(key, limit)

    async def page_dependents(self, after: TaskId | None, limit: int) -> list[HeldTask]:
        return await self._holds.page_dependents(after, limit)

    async def find_due(self, limit: int) -> list[TaskId]:
        return await self._holds.find_due(limit)

    async def find_queued(self, shape: str, limit: int, older_than_s: float) -> list[Candidate]:
        return await self._tasks.find_queued(shape, limit, older_than_s)

    async def find_shapes(self, after: str, limit: int) -> list[Candidate]:
        return await self._tasks.find_shapes(after, limit)

    async def get(self, task: TaskId) -> Task:
        return await self._tasks.get(task)

    async def open_session(self, item: OpenSession) -> OpenedSession:
        return await self._sessions.open_session(item)

    async def expire_session(self, name: ExecutorName, session: SessionNo) -> bool:
        return await self._sessions.expire_session(name, session)

    async def leases_of(self, name: ExecutorName, up_to_session: SessionNo) -> list[HeldLease]:
        return await self._sessions.leases_of(name, up_to_session)

    async def audit_own(self, names: Sequence[ExecutorName]) -> AuditView:
        return await self._sessions.audit_own(names)

    async def audit_all(self) -> list[HeldLease]:
        return await self._sessions.audit_all()

    async def list_executors(self) -> list[ExecutorRecord]:
        return await self._sessions.list_executors()
