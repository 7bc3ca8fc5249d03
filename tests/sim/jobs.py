"""The statements of jobs in the simulation, each in doubt as those of tasks are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from khala.model.ids import JobId, TaskId
from khala.model.job import Job, Stop
from khala.model.spec import TaskSpec
from khala.model.statements import AcceptResult, NewTask
from khala.model.task import TaskBrief, TaskState
from khala.store.expansion import ExpansionStore
from tests.sim.store import DoubtfulStore


class DoubtfulJobs:
    """`khala.core.ports.JobPort` of one judicator."""

    def __init__(self, doubtful: DoubtfulStore, store: ExpansionStore) -> None:
        self._do = doubtful.do
        self._store = store

    async def find_open(self, after: JobId | None, limit: int) -> list[Job]:
        return await self._do(lambda: self._store.find_open(after, limit))

    async def note_expanded(self, job: JobId, position: int) -> None:
        await self._do(lambda: self._store.note_expanded(job, position))

    async def stop_if_open(self, job: JobId, why: Stop) -> bool:
        return await self._do(lambda: self._store.stop_if_open(job, why))

    async def close_if_version(
        self, job: JobId, version: int, counts: Mapping[TaskState, int]
    ) -> bool:
        return await self._do(lambda: self._store.close_if_version(job, version, counts))

    async def count_open(self, job: JobId) -> int:
        return await self._do(lambda: self._store.count_open(job))

    async def count_failed(self, job: JobId) -> int:
        return await self._do(lambda: self._store.count_failed(job))

    async def count_states(self, job: JobId) -> dict[TaskState, int]:
        return await self._do(lambda: self._store.count_states(job))

    async def find_unheld(self, job: JobId, limit: int) -> list[TaskId]:
        return await self._do(lambda: self._store.find_unheld(job, limit))

    async def list_made(
        self, job: JobId, first: int, last: int, states: Sequence[TaskState], limit: int
    ) -> list[TaskBrief]:
        return await self._do(lambda: self._store.list_made(job, first, last, states, limit))

    async def specs_of(self, job: Job, first: int, last: int) -> list[TaskSpec]:
        return await self._store.specs_of(job, first, last)

    async def insert_if_new(self, items: Sequence[NewTask]) -> list[AcceptResult | Exception]:
        """Each lands by itself: a command that breaks off has inserted some of them."""
        answers: list[AcceptResult | Exception] = []
        for item in items:
            answers += await self._do(partial(self._store.insert_if_new, [item]), item.id)
        return answers
