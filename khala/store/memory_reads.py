"""The reads of the memory store; the twin of `khala.store.task_reads`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from khala.model.errors import NotFound
from khala.model.ids import TaskId
from khala.model.limits import EARLY_S, LIST_LIMIT_MAX
from khala.model.search import id_prefix_of, label_of, whole_ids
from khala.model.statements import Candidate, Counts, candidate_of
from khala.model.task import Dispatch, Task, TaskBrief, brief_of
from khala.protocol.rpc import (
    ListTasks,
    Place,
    SearchTasks,
    SortKey,
    TaskFilter,
    TaskPage,
    TaskRows,
    place_of,
)
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
        def order(place: Place) -> tuple[int, float, int]:
            # The ids of tasks are numbers, so that everything can be turned round.
            priority = place.priority if query.lowest_first else -place.priority
            sign = 1 if query.oldest_first else -1
            return priority, sign * place.at.timestamp(), sign * int(place.id, 16)

        def place(task: Task) -> tuple[int, float, int]:
            return order(place_of(brief_of(task), query.sort))

        found = [row.task for row in self._state.tasks.values() if _matches(row.task, query)]
        if named := [each for each in whole_ids(query.words) if each in self._state.tasks]:
            found = [task for task in found if task.id == named[0]]
        if query.sort is SortKey.FINISHED_AT:
            found = [task for task in found if task.done_at is not None]
        found.sort(key=place)
        total = len(found) if query.count else None
        if query.after is not None:
            last = order(query.after)
            found = [task for task in found if place(task) > last]
        page = found[: query.limit]
        more = len(found) > query.limit
        return TaskRows(
            tasks=[brief_of(task) for task in page],
            more=more,
            next=place_of(brief_of(page[-1]), query.sort) if more else None,
            total=total,
            total_is_exact=total is not None,
        )

    async def load_briefs(self, tasks: Sequence[TaskId]) -> list[TaskBrief]:
        rows = (self._state.tasks.get(task) for task in dict.fromkeys(tasks))
        return [brief_of(row.task) for row in rows if row is not None]

    async def find_queued(self, shape: str, limit: int, older_than_s: float) -> list[Candidate]:
        now = self._state.now()
        before, early = now - timedelta(seconds=older_than_s), now + timedelta(seconds=EARLY_S)
        found = [
            candidate_of(row.task)
            for row in self._state.tasks.values()
            if row.task.dispatch is Dispatch.QUEUED
            and row.task.spec.shape == shape
            and not before < row.task.submitted_at <= early
        ]
        return sorted(found, key=lambda task: task.place)[:limit]

    async def find_shapes(self, after: str, limit: int) -> list[Candidate]:
        queued = [row.task for row in self._state.tasks.values()]
        waiting = [candidate_of(task) for task in queued if task.dispatch is Dispatch.QUEUED]
        firsts: dict[str, Candidate] = {}
        for task in sorted(waiting, key=lambda task: task.place):
            if task.spec.shape > after:
                firsts.setdefault(task.spec.shape, task)
        return [firsts[shape] for shape in sorted(firsts)[:limit]]


def _matches(task: Task, query: TaskFilter) -> bool:
    outcome = task.outcome
    labels = {f"{key}={value}" for key, value in task.spec.labels.items()}
    ran_on = task.executor or (outcome.executor if outcome else None)
    return (
        (query.user is None or task.spec.user == query.user)
        and (not query.states or task.state in query.states)
        and (not query.reasons or (outcome is not None and outcome.reason in query.reasons))
        and (not query.verdicts or brief_of(task).verdict in query.verdicts)
        and labels.issuperset(query.labels)
        and query.held in (None, brief_of(task).held)
        and (query.node is None or ran_on == query.node)
        and (query.name is None or query.name.lower() in task.spec.name.lower())
        and (query.id_prefix is None or task.id.startswith(query.id_prefix))
        and all(_is_found(word, task, labels) for word in query.words)
        and _within(task.submitted_at, *query.created)
        and (query.finished == (None, None) or _within(task.done_at, *query.finished))
    )


def _is_found(word: str, task: Task, labels: Collection[str]) -> bool:
    prefix = id_prefix_of(word)
    return (
        word.lower() in task.spec.name.lower()
        or (prefix is not None and task.id.startswith(prefix))
        or label_of(word) in labels
    )


def _within(at: datetime | None, start: datetime | None, end: datetime | None) -> bool:
    return at is not None and (start is None or at >= start) and (end is None or at <= end)
