"""Two short memories that make dispatch cheap: what to lease next, and what not to lease again.

Both are hints. The store's index finds every queued task anyway, but dispatching from memory needs
no query, and a Judicator that serves its own submissions first rarely races with another one for
the same document. And a task that an executor has just refused or lost would meet the same fate
again at once: a loop as fast as the store, were it not left alone for a while.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from khala.model.ids import ExecutorName, TaskId
from khala.model.limits import READY_ITEMS, REFUSAL_PAUSE_S
from khala.model.statements import Candidate


class Ready:
    """A bounded queue without duplicates; beyond the bound tasks wait for the index scan."""

    def __init__(self, bound: int = READY_ITEMS) -> None:
        self._bound = bound
        self._tasks: dict[TaskId, Candidate] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: TaskId) -> bool:
        return task in self._tasks

    def add(self, task: Candidate) -> None:
        if len(self._tasks) < self._bound:
            self._tasks[task.id] = task

    def put_back(self, tasks: Sequence[Candidate]) -> None:
        """Before everything else, in their order: they have waited longest. Makes room for them
        at the other end, which the index still has."""
        new = {task.id: task for task in tasks if task.id not in self._tasks}
        self._tasks = new | self._tasks
        while len(self._tasks) > self._bound:
            self._tasks.popitem()

    def pop(self) -> Candidate | None:
        """The oldest one, or None."""
        for task in self._tasks:
            return self._tasks.pop(task)
        return None

    def discard(self, task: TaskId) -> None:
        self._tasks.pop(task, None)

    def clear(self) -> None:
        self._tasks.clear()


class Refusals:
    """Which executors refused or lost which tasks less than `REFUSAL_PAUSE_S` ago."""

    def __init__(self) -> None:
        #: In the order of their ends, because the pause is always the same.
        self._until: dict[tuple[TaskId, ExecutorName], float] = {}
        self._by_task: dict[TaskId, set[ExecutorName]] = {}

    def __len__(self) -> int:
        return len(self._by_task)

    def add(self, task: TaskId, executor: ExecutorName, now: float) -> None:
        self._until.pop((task, executor), None)
        self._until[task, executor] = now + REFUSAL_PAUSE_S
        self._by_task.setdefault(task, set()).add(executor)

    def of(self, task: TaskId) -> Collection[ExecutorName]:
        return self._by_task.get(task, ())

    def expire(self, now: float) -> bool:
        """Forget what is over; whether anything was."""
        expired = False
        while self._until:
            key = next(iter(self._until))
            if self._until[key] > now:
                break
            expired = True
            del self._until[key]
            task, executor = key
            self._by_task[task].discard(executor)
            if not self._by_task[task]:
                del self._by_task[task]
        return expired
