"""The jobs of the memory store; the twin of `khala.store.jobs`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from khala.model.errors import Conflict, NotFound
from khala.model.ids import JobId, TaskId
from khala.model.job import Job, NewJob, Stop, hold_key, member_id
from khala.model.outcome import Cancellation
from khala.model.statements import AcceptResult
from khala.model.task import Dispatch, Task, TaskBrief, TaskState, brief_of
from khala.protocol.jobs import JobRows, ListJobs
from khala.store.dates import to_ms
from khala.store.memory_state import MemoryState

_UNDER_WAY = frozenset({TaskState.STARTING, TaskState.COMPILING, TaskState.RUNNING})


class MemoryJobs:
    """`JobStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def insert_if_new(self, item: NewJob) -> AcceptResult:
        state = self._state
        if item.id in state.jobs:
            return AcceptResult(id=TaskId(item.id), replay=False)
        if item.key is not None:
            earlier = state.job_keys.get((item.spec.user, item.key))
            if earlier is not None:
                if earlier[1] != item.fingerprint:
                    raise Conflict(f"key: already used with another request, as job {earlier[0]}")
                return AcceptResult(id=TaskId(earlier[0]), replay=True)
            state.job_keys[item.spec.user, item.key] = (item.id, item.fingerprint)
        at = to_ms(item.submitted_at)
        state.jobs[item.id] = Job(
            id=item.id, spec=item.spec, submitted_at=at, updated_at=at, held=item.held or None
        )
        state.job_blobs[item.id] = item.blobs
        return AcceptResult(id=TaskId(item.id), replay=False)

    async def get(self, job: JobId) -> Job:
        found = self._state.jobs.get(job)
        if found is None:
            raise NotFound(f"job {job} does not exist")
        return found

    async def list_jobs(self, query: ListJobs) -> JobRows:
        found = [
            job
            for job in self._sorted()
            if (query.user is None or job.spec.user == query.user)
            and (query.before is None or job.id < query.before)
        ]
        found.reverse()
        return JobRows(jobs=found[: query.limit], more=len(found) > query.limit)

    async def find_open(self, after: JobId | None, limit: int) -> list[Job]:
        found = [job for job in self._sorted() if job.open and (after is None or job.id > after)]
        return found[:limit]

    async def note_expanded(self, job: JobId, position: int) -> None:
        found = self._state.jobs.get(job)
        if found is not None and found.expanded < position:
            self._state.jobs[job] = replace(found, expanded=position)

    async def stop_if_open(
        self, job: JobId, why: Stop, cancellation: Cancellation | None = None
    ) -> bool:
        found = self._state.jobs.get(job)
        if found is None or not found.open or found.stop is not None:
            return False
        now = self._state.now()
        self._state.jobs[job] = replace(
            found,
            stop=why,
            stopped_at=now,
            cancellation=cancellation,
            updated_at=now,
            version=found.version + 1,
        )
        return True

    async def close_if_version(
        self, job: JobId, version: int, counts: Mapping[TaskState, int]
    ) -> bool:
        found = self._state.jobs.get(job)
        if found is None or not found.open or found.version != version:
            return False
        now = self._state.now()
        self._state.jobs[job] = replace(
            found, open=False, counts=dict(counts), updated_at=now, done_at=now
        )
        return True

    async def hold_if_version(self, job: JobId, version: int, *, held: bool) -> bool:
        found = self._state.jobs.get(job)
        if found is None or not found.open or found.stop is not None or found.version != version:
            return False
        self._state.jobs[job] = replace(
            found, held=held, version=version + 1, updated_at=self._state.now()
        )
        return True

    async def find_unheld(self, job: JobId, limit: int) -> list[TaskId]:
        found = [
            task.id
            for task in self._members(job)
            if task.waits and (task.hold is None or hold_key(job) not in task.hold.keys)
        ]
        return found[:limit]

    async def count_open(self, job: JobId) -> int:
        return sum(task.dispatch is not Dispatch.DONE for task in self._members(job))

    async def count_failed(self, job: JobId) -> int:
        return sum(task.state in {TaskState.FAILED, TaskState.ERROR} for task in self._members(job))

    async def count_states(self, job: JobId) -> dict[TaskState, int]:
        return dict(Counter(_counted_as(task.state) for task in self._members(job)))

    async def list_made(
        self, job: JobId, first: int, last: int, states: Sequence[TaskState], limit: int
    ) -> list[TaskBrief]:
        wanted = {_counted_as(state) for state in states}
        between = (member_id(job, first), member_id(job, last))
        found = [
            brief_of(task)
            for task in self._members(job)
            if between[0] <= task.id <= between[1]
            and (not wanted or _counted_as(task.state) in wanted)
        ]
        return sorted(found, key=lambda brief: brief.id)[:limit]

    def _members(self, job: JobId) -> Iterator[Task]:
        for row in self._state.tasks.values():
            member = row.task.spec.member
            if member is not None and member.job == job:
                yield row.task

    def _sorted(self) -> list[Job]:
        return sorted(self._state.jobs.values(), key=lambda job: job.id)


def _counted_as(state: TaskState) -> TaskState:
    return TaskState.RUNNING if state in _UNDER_WAY else state
