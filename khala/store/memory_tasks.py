"""The task half of the memory store, and what its halves share; see `khala.store.memory`."""

from __future__ import annotations

import operator
from collections.abc import (
    Callable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec.structs import replace

from khala.model.errors import AlreadyDone, Conflict, NotFound
from khala.model.executor import ExecutorRecord
from khala.model.ids import (
    AttemptNo,
    ExecutorName,
    TaskId,
)
from khala.model.limits import CRASH_LIMIT, LIST_LIMIT_MAX
from khala.model.statements import (
    CANCELLED,
    AcceptResult,
    CancelResult,
    Candidate,
    Counts,
    FinishItem,
    FinishResult,
    HeldLease,
    Lease,
    LeaseItem,
    NewTask,
    ProgressItem,
    RequeueItem,
    RequeueResult,
    lost_repeatedly,
)
from khala.model.task import Chunked, Dispatch, Outcome, Part, Task, TaskBrief, brief_of
from khala.protocol.rpc import ListTasks, SearchTasks, TaskPage, TaskRows
from khala.store.dates import to_ms

Wall = Callable[[], datetime]


@dataclass(slots=True)
class MemoryRow:
    """A task document: the task and what only the store needs of it."""

    task: Task
    key: str | None
    fingerprint: bytes
    lease: Lease | None

    def end(self, outcome: Outcome, result_attempt: AttemptNo | None, at: datetime) -> None:
        """Done for good; `result_attempt` is None where no attempt brought the outcome."""
        self.lease = None
        self.task = replace(
            self.task,
            dispatch=Dispatch.DONE,
            executor=None,
            progress=None,
            outcome=outcome,
            result_attempt=result_attempt,
            updated_at=at,
            done_at=at,
        )


@dataclass(slots=True)
class MemoryState:
    """What the parts of one store share."""

    wall: Wall
    tasks: dict[TaskId, MemoryRow] = field(default_factory=dict)
    keys: dict[tuple[int, str], TaskId] = field(default_factory=dict)
    executors: dict[ExecutorName, ExecutorRecord] = field(default_factory=dict)
    forgotten: set[ExecutorName] = field(default_factory=set)
    term: int = 0
    parts: dict[tuple[TaskId, Part], bytes] = field(default_factory=dict)
    chunks: dict[tuple[TaskId, AttemptNo, Chunked], dict[int, bytes]] = field(default_factory=dict)

    def now(self) -> datetime:
        return to_ms(self.wall())

    def leases(self) -> Iterator[HeldLease]:
        for row in self.tasks.values():
            if row.lease is not None:
                yield HeldLease(
                    id=row.task.id,
                    attempt=row.task.attempt,
                    executor=row.lease.executor,
                    session=row.lease.session,
                )


class MemoryTasks:
    """`TaskStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def insert_if_new(self, items: Sequence[NewTask]) -> list[AcceptResult | Exception]:
        return [self._insert(item) for item in items]

    def _insert(self, item: NewTask) -> AcceptResult | Exception:
        state = self._state
        if item.id in state.tasks:
            return AcceptResult(id=item.id, replay=False)
        key = None if item.key is None else (item.spec.user, item.key)
        earlier = state.keys.get(key) if key is not None else None
        if earlier is not None:
            if state.tasks[earlier].fingerprint != item.fingerprint:
                return Conflict(f"key: already used with another request, as task {earlier}")
            return AcceptResult(id=earlier, replay=True)
        submitted_at = to_ms(item.submitted_at)
        lease = item.lease
        state.tasks[item.id] = MemoryRow(
            task=Task(
                id=item.id,
                spec=item.spec,
                dispatch=Dispatch.LEASED if lease else Dispatch.QUEUED,
                attempt=AttemptNo(1 if lease else 0),
                crashes=0,
                submitted_at=submitted_at,
                updated_at=submitted_at,
                executor=lease.executor if lease else None,
                started_at=submitted_at if lease else None,
            ),
            key=item.key,
            fingerprint=item.fingerprint,
            lease=lease,
        )
        if key is not None:
            state.keys[key] = item.id
        return AcceptResult(id=item.id, replay=False)

    def _at(self, task: TaskId, attempt: AttemptNo) -> MemoryRow | None:
        row = self._state.tasks.get(task)
        return row if row is not None and row.task.attempt == attempt else None

    async def lease_if_queued(self, items: Sequence[LeaseItem]) -> list[bool]:
        return [self._lease(item) for item in items]

    def _lease(self, item: LeaseItem) -> bool:
        row = self._state.tasks.get(item.id)
        if row is None:
            return False
        if row.lease is not None:
            return row.lease.claim == item.lease.claim
        if row.task.dispatch is not Dispatch.QUEUED or row.task.attempt != item.attempt:
            return False
        now = item.at or self._state.now()
        row.lease = item.lease
        row.task = replace(
            row.task,
            dispatch=Dispatch.LEASED,
            attempt=AttemptNo(item.attempt + 1),
            executor=item.lease.executor,
            progress=None,
            started_at=now,
            updated_at=now,
        )
        return True

    async def progress_if_leased(self, items: Sequence[ProgressItem]) -> None:
        for item in items:
            row = self._at(item.id, item.attempt)
            if row is not None and row.lease is not None:
                row.task = replace(row.task, progress=item.progress, updated_at=self._state.now())

    async def finish_if_attempt(
        self, items: Sequence[FinishItem]
    ) -> list[FinishResult | Exception]:
        return [self._finish(item) for item in items]

    def _finish(self, item: FinishItem) -> FinishResult:
        row = self._at(item.id, item.attempt)
        if row is None:
            return FinishResult.STALE
        if row.task.dispatch is not Dispatch.DONE:
            row.end(item.outcome, item.attempt, item.at or self._state.now())
        ours = row.task.result_attempt == item.attempt
        return FinishResult.RECORDED if ours else FinishResult.STALE

    async def cancel_if_open(self, task: TaskId) -> CancelResult:
        row = self._state.tasks.get(task)
        if row is None:
            raise NotFound(f"task {task} does not exist")
        if row.task.dispatch is Dispatch.DONE:
            raise AlreadyDone(f"task {task} has already ended: {row.task.state}")
        before = row.lease
        row.end(CANCELLED, None, self._state.now())
        attempt = row.task.attempt if before is not None else None
        return CancelResult(before=before, attempt=attempt, brief=brief_of(row.task))

    async def adopt_if_attempt(self, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool:
        row = self._at(task, attempt)
        if row is None or row.task.dispatch is Dispatch.DONE:
            return False
        held = row.lease
        if held is not None and (held.executor != lease.executor or held.session > lease.session):
            return False
        now = self._state.now()
        row.lease = lease
        row.task = replace(
            row.task,
            dispatch=Dispatch.LEASED,
            executor=lease.executor,
            started_at=row.task.started_at or now,
            updated_at=now,
        )
        return True

    async def requeue_if_leased_by(self, item: RequeueItem) -> RequeueResult:
        row = self._at(item.id, item.attempt)
        if row is None or row.lease is None:
            return RequeueResult.STALE
        if (row.lease.executor, row.lease.session) != (item.executor, item.session):
            return RequeueResult.STALE
        crashes = row.task.crashes + item.crash
        row.task = replace(row.task, crashes=crashes)
        if item.crash and crashes >= CRASH_LIMIT:
            row.end(lost_repeatedly(crashes), None, self._state.now())
            return RequeueResult.ENDED
        row.lease = None
        row.task = replace(
            row.task,
            dispatch=Dispatch.QUEUED,
            executor=None,
            progress=None,
            started_at=None,
            updated_at=self._state.now(),
        )
        return RequeueResult.REQUEUED

    async def get(self, task: TaskId) -> Task:
        row = self._state.tasks.get(task)
        if row is None:
            raise NotFound(f"task {task} does not exist")
        return row.task

    async def search(self, query: SearchTasks) -> TaskPage:
        found = [
            row.task
            for row in self._state.tasks.values()
            if (query.id is None or row.task.id == query.id)
            and (query.user is None or row.task.spec.user == query.user)
            and (query.start is None or row.task.submitted_at >= query.start)
            and (query.end is None or row.task.submitted_at <= query.end)
        ]
        found.sort(key=lambda t: (t.submitted_at, t.id), reverse=not query.oldest_first)
        limit = min(query.limit or LIST_LIMIT_MAX, LIST_LIMIT_MAX)
        page = found[query.offset : query.offset + limit]
        return TaskPage(total=len(found), tasks=[brief_of(task) for task in page])

    async def counts(self) -> Counts:
        states = [row.task.dispatch for row in self._state.tasks.values()]
        return Counts(queued=states.count(Dispatch.QUEUED), leased=states.count(Dispatch.LEASED))

    async def oldest_queued(self) -> datetime | None:
        return min(
            (
                row.task.submitted_at
                for row in self._state.tasks.values()
                if row.task.dispatch is Dispatch.QUEUED
            ),
            default=None,
        )

    async def list_tasks(self, query: ListTasks) -> TaskRows:
        found = [
            row.task
            for row in self._state.tasks.values()
            if (query.user is None or row.task.spec.user == query.user)
            and (not query.states or row.task.state in query.states)
            and (query.start is None or row.task.submitted_at >= query.start)
            and (query.end is None or row.task.submitted_at <= query.end)
        ]
        found.sort(key=lambda t: (t.submitted_at, t.id), reverse=not query.oldest_first)
        if query.after is not None:
            last = (query.after.submitted_at, query.after.id)
            beyond = operator.gt if query.oldest_first else operator.lt
            found = [task for task in found if beyond((task.submitted_at, task.id), last)]
        page = [brief_of(task) for task in found[: query.limit]]
        return TaskRows(tasks=page, more=len(found) > query.limit)

    async def load_briefs(self, tasks: Sequence[TaskId]) -> list[TaskBrief]:
        rows = (self._state.tasks.get(task) for task in dict.fromkeys(tasks))
        return [brief_of(row.task) for row in rows if row is not None]

    async def find_queued(self, image: str, limit: int, older_than_s: float) -> list[Candidate]:
        before = self._state.now() - timedelta(seconds=older_than_s)
        found = [
            row.task
            for row in self._state.tasks.values()
            if row.task.dispatch is Dispatch.QUEUED
            and row.task.spec.image == image
            and row.task.submitted_at <= before
        ]
        found.sort(key=lambda t: (t.submitted_at, t.id))
        return [
            Candidate(
                id=task.id,
                attempt=task.attempt,
                crashes=task.crashes,
                spec=task.spec,
                submitted_at=task.submitted_at,
            )
            for task in found[:limit]
        ]
