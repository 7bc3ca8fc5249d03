"""The twin of `khala.store.returns`; see `khala.store.memory`."""

from __future__ import annotations

from msgspec.structs import replace

from khala.model.attempts import PastAttempt
from khala.model.holds import Hold
from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import PAST_ATTEMPTS
from khala.model.statements import RequeueItem, RequeueResult, RetryItem, lost_repeatedly
from khala.model.task import Dispatch, Task
from khala.store.dates import to_ms
from khala.store.memory_reads import MemoryReads
from khala.store.memory_state import MemoryRow


class MemoryReturns(MemoryReads):
    """A part of `MemoryTasks`."""

    def _at(self, task: TaskId, attempt: AttemptNo) -> MemoryRow | None:
        row = self._state.tasks.get(task)
        return row if row is not None and row.task.attempt == attempt else None

    async def requeue_if_leased_by(self, item: RequeueItem) -> RequeueResult:
        row = self._at(item.id, item.attempt)
        if row is None or row.lease is None:
            return RequeueResult.STALE
        if (row.lease.executor, row.lease.session) != (item.executor, item.session):
            return RequeueResult.STALE
        crashes = row.task.crashes + item.crash
        if item.crash and crashes >= row.task.spec.max_crashes:
            row.task = replace(row.task, crashes=crashes)
            row.end(lost_repeatedly(crashes), None, self._state.now())
            return RequeueResult.ENDED
        now = self._state.now()
        row.lease = None
        row.task = replace(
            _without_run(row.task),
            dispatch=Dispatch.QUEUED,
            crashes=crashes,
            updated_at=now,
            past=_remembering(row.task, item.past(now)),
        )
        return RequeueResult.REQUEUED

    async def retry_if_attempt(self, item: RetryItem) -> bool:
        row = self._state.tasks.get(item.id)
        if row is None:
            return False
        task = row.task
        if (
            task.dispatch is Dispatch.DONE
            or task.attempt != item.attempt
            or task.retried == item.attempt
        ):
            return task.retried == item.attempt
        hold = task.hold
        if item.until is not None:
            hold = replace(hold or Hold(), until=to_ms(item.until))
        row.lease = None
        row.task = replace(
            _without_run(task),
            dispatch=Dispatch.QUEUED if hold is None else Dispatch.HELD,
            hold=hold,
            updated_at=item.at,
            retries=task.retries + 1,
            retried=item.attempt,
            past=_remembering(task, item.past),
        )
        return True


def _without_run(task: Task) -> Task:
    return replace(task, executor=None, progress=None, started_at=None)


def _remembering(task: Task, attempt: PastAttempt) -> tuple[PastAttempt, ...]:
    others = [each for each in task.past if each.attempt != attempt.attempt]
    one = replace(attempt, started_at=task.started_at)
    return (*others, one)[-PAST_ATTEMPTS:]
