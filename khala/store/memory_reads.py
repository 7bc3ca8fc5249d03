"""The reads of the memory store; the twin of `khala.store.task_reads`."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from datetime import datetime, timedelta

from khala.model.errors import NotFound
from khala.model.ids import TaskId
from khala.model.limits import LIST_LIMIT_MAX
from khala.model.statements import Candidate, Counts
from khala.model.task import Dispatch, Task, TaskBrief, brief_of
from khala.protocol.rpc import ListTasks, SearchTasks, TaskPage, TaskRows
from khala.store.memory_state import MemoryState


class MemoryReads:
    """The reading half of `MemoryTasks`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

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
        return Counts(
            queued=states.count(Dispatch.QUEUED),
            held=states.count(Dispatch.HELD),
            leased=states.count(Dispatch.LEASED),
        )

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

    async def find_queued(self, shape: str, limit: int, older_than_s: float) -> list[Candidate]:
        before = self._state.now() - timedelta(seconds=older_than_s)
        found = [
            Candidate(
                id=row.task.id,
                attempt=row.task.attempt,
                crashes=row.task.crashes,
                spec=row.task.spec,
                submitted_at=row.task.submitted_at,
            )
            for row in self._state.tasks.values()
            if row.task.dispatch is Dispatch.QUEUED
            and row.task.spec.shape == shape
            and row.task.submitted_at <= before
        ]
        return sorted(found, key=lambda task: task.place)[:limit]
