"""The task half of the memory store: what changes tasks; see `khala.store.memory`."""

from __future__ import annotations

from collections.abc import (
    Sequence,
)

from msgspec.structs import replace

from khala.model.errors import AlreadyDone, Conflict, NotFound
from khala.model.holds import Hold
from khala.model.ids import (
    AttemptNo,
    TaskId,
)
from khala.model.outcome import Cancellation
from khala.model.statements import (
    AcceptResult,
    CancelResult,
    FinishItem,
    FinishResult,
    Lease,
    LeaseItem,
    NewTask,
    ProgressItem,
    cancelled,
)
from khala.model.task import Dispatch, Task, brief_of
from khala.store.dates import to_ms
from khala.store.memory_patches import MemoryPatches
from khala.store.memory_state import MemoryRow


class MemoryTasks(MemoryPatches):
    """`TaskStore`."""

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
                dispatch=_dispatch_of(item),
                attempt=AttemptNo(item.attempts_before + (1 if lease else 0)),
                crashes=0,
                submitted_at=submitted_at,
                updated_at=submitted_at,
                executor=lease.executor if lease else None,
                hold=_hold_of(item),
                started_at=submitted_at if lease else None,
                outcome=item.ended,
                done_at=submitted_at if item.ended else None,
                keyed=item.key is not None,
            ),
            key=item.key,
            fingerprint=item.fingerprint,
            lease=lease,
        )
        if key is not None:
            state.keys[key] = item.id
        return AcceptResult(id=item.id, replay=False)

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
            late = self._state.tasks.get(item.id)
            was_retried = late is not None and late.task.retried == item.attempt
            return FinishResult.RETRIED if was_retried else FinishResult.STALE
        if row.task.retried == item.attempt:
            return FinishResult.RETRIED
        if row.task.dispatch is not Dispatch.DONE:
            row.end(item.outcome, item.attempt, item.at or self._state.now())
        ours = row.task.result_attempt == item.attempt
        return FinishResult.RECORDED if ours else FinishResult.STALE

    async def cancel_if_open(
        self, task: TaskId, cancellation: Cancellation | None = None
    ) -> CancelResult:
        row = self._state.tasks.get(task)
        if row is None:
            raise NotFound(f"task {task} does not exist")
        if row.task.dispatch is Dispatch.DONE:
            raise AlreadyDone(f"task {task} has already ended: {row.task.state}")
        before = row.lease
        row.end(cancelled(cancellation), None, self._state.now())
        attempt = row.task.attempt if before is not None else None
        return CancelResult(before=before, attempt=attempt, brief=brief_of(row.task))

    async def adopt_if_attempt(self, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool:
        row = self._at(task, attempt)
        if row is None or row.task.dispatch in {Dispatch.HELD, Dispatch.DONE}:
            return False
        if row.task.retried == attempt:
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


def _hold_of(item: NewTask) -> Hold | None:
    if item.hold is None or item.hold.until is None:
        return item.hold
    return replace(item.hold, until=to_ms(item.hold.until))


def _dispatch_of(item: NewTask) -> Dispatch:
    if item.lease is not None:
        return Dispatch.LEASED
    if item.ended is not None:
        return Dispatch.DONE
    return Dispatch.QUEUED if item.hold is None else Dispatch.HELD
