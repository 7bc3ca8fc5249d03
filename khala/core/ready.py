"""Tasks this Judicator accepted and has not leased yet, in the order they came.

Only a hint: the store's index finds every queued task anyway. It exists because dispatching from
memory needs no query, and because a Judicator that serves its own submissions first rarely races
with another one for the same document.
"""

from __future__ import annotations

from khala.model.ids import TaskId
from khala.model.limits import READY_ITEMS
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

    def pop(self) -> Candidate | None:
        """The oldest one, or None."""
        for task in self._tasks:
            return self._tasks.pop(task)
        return None

    def discard(self, task: TaskId) -> None:
        self._tasks.pop(task, None)
