"""The port of `khala.core.expansion` on a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from khala.model.ids import JobId, TaskId
from khala.model.job import Job, Stop
from khala.model.spec import TaskSpec
from khala.model.statements import AcceptResult, NewTask
from khala.model.task import TaskBrief, TaskState
from khala.store.members import Members
from khala.store.protocols import JobStore, TaskStore


class ExpansionStore:
    """`khala.core.ports.JobPort`."""

    def __init__(self, jobs: JobStore, members: Members, tasks: TaskStore) -> None:
        self._jobs = jobs
        self._members = members
        self._tasks = tasks

    async def find_open(self, after: JobId | None, limit: int) -> list[Job]:
        return await self._jobs.find_open(after, limit)

    async def note_expanded(self, job: JobId, position: int) -> None:
        await self._jobs.note_expanded(job, position)

    async def stop_if_open(self, job: JobId, why: Stop) -> bool:
        return await self._jobs.stop_if_open(job, why)

    async def close_if_version(
        self, job: JobId, version: int, counts: Mapping[TaskState, int]
    ) -> bool:
        return await self._jobs.close_if_version(job, version, counts)

    async def count_open(self, job: JobId) -> int:
        return await self._jobs.count_open(job)

    async def count_failed(self, job: JobId) -> int:
        return await self._jobs.count_failed(job)

    async def count_states(self, job: JobId) -> dict[TaskState, int]:
        return await self._jobs.count_states(job)

    async def find_unheld(self, job: JobId, limit: int) -> list[TaskId]:
        return await self._jobs.find_unheld(job, limit)

    async def list_made(
        self, job: JobId, first: int, last: int, states: Sequence[TaskState], limit: int
    ) -> list[TaskBrief]:
        return await self._jobs.list_made(job, first, last, states, limit)

    async def specs_of(self, job: Job, first: int, last: int) -> list[TaskSpec]:
        return await self._members.specs_of(job, first, last)

    async def insert_if_new(self, items: Sequence[NewTask]) -> list[AcceptResult | Exception]:
        return await self._tasks.insert_if_new(items)
