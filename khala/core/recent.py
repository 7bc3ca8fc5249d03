"""Tasks that ended here a moment ago: whoever waited for one asks for it right now.

A task that is done never changes, so an answer from memory is as good as the store's, provided
that it is the same to the last field. It is: the dates come from here, and a task is remembered
only by the process that leased it and recorded its first result.
"""

from __future__ import annotations

from datetime import datetime

from khala.core.session import Held
from khala.model.ids import TaskId
from khala.model.limits import RECENT_ARTIFACTS, RECENT_CASES, RECENT_TASKS
from khala.model.outcome import Outcome
from khala.model.task import Dispatch, Task
from khala.protocol.executor import Run


class Recent:
    """The last few; what falls out is read from the store."""

    def __init__(self) -> None:
        self._tasks: dict[TaskId, Task] = {}

    def get(self, task: TaskId) -> Task | None:
        return self._tasks.get(task)

    def forget(self, task: TaskId) -> None:
        self._tasks.pop(task, None)

    def add(self, run: Run, held: Held, outcome: Outcome, done_at: datetime) -> None:
        """The result of `run` was recorded just now, for the first time."""
        task = held.task
        if task is None or held.started_at is None:
            return  # leased by another process: only the store knows when
        if run[1] > 1:
            return  # only the store knows what became of the attempts before
        files = len(outcome.artifacts.files) if outcome.artifacts is not None else 0
        if files > RECENT_ARTIFACTS or len(outcome.cases) > RECENT_CASES:
            return
        self._tasks[run[0]] = Task(
            id=run[0],
            spec=task.spec,
            dispatch=Dispatch.DONE,
            attempt=run[1],
            crashes=task.crashes,
            submitted_at=task.submitted_at,
            updated_at=done_at,
            outcome=outcome,
            result_attempt=run[1],
            started_at=held.started_at,
            done_at=done_at,
            keyed=task.keyed,
        )
        if len(self._tasks) > RECENT_TASKS:
            del self._tasks[next(iter(self._tasks))]
