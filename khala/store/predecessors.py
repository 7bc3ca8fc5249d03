"""How tasks and jobs stand that others wait for."""

from __future__ import annotations

from collections.abc import Sequence

from khala.model.errors import NotFound
from khala.model.ids import JobId, TaskId
from khala.model.job import Job, is_job_id, place_of, state_of, total
from khala.model.task import TERMINAL, TaskState
from khala.store.protocols import JobStore, TaskStore


class Predecessors:
    """`khala.core.ports.PredecessorPort`."""

    def __init__(self, jobs: JobStore, tasks: TaskStore) -> None:
        self._jobs = jobs
        self._tasks = tasks

    async def load_states(self, ids: Sequence[TaskId]) -> dict[TaskId, TaskState]:
        states = {brief.id: brief.state for brief in await self._tasks.load_briefs(ids)}
        jobs: dict[JobId, Job | None] = {}
        for task in ids:
            if task in states:
                continue
            job_id, position = place_of(task)
            if job_id not in jobs:
                jobs[job_id] = await self._find(job_id)
            job = jobs[job_id]
            if job is None:
                continue
            if is_job_id(task):
                states[task] = _state_of_job(job)
            elif 1 <= position <= job.size:
                # It is not made yet, or never will be.
                stopped = job.stop is not None
                states[task] = TaskState.CANCELLED if stopped else TaskState.QUEUED
        return states

    async def _find(self, job: JobId) -> Job | None:
        try:
            return await self._jobs.get(job)
        except NotFound:
            return None


def _state_of_job(job: Job) -> TaskState:
    if job.open or job.counts is None:
        return TaskState.QUEUED
    state = TaskState(state_of(total(job, job.counts)))
    return state if state in TERMINAL else TaskState.QUEUED
