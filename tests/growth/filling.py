"""A store of any size: copies of a few tasks that came there by Khala's own statements.

A million tasks by the statements would take an hour. A copy differs from its model in what indexes
are made of (id, user, labels, dates), so that a question finds it where it would find the real one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Int64, ObjectId

from khala.model.ids import TaskId, mint_task_id
from khala.protocol.rpc import Place
from khala.store.mongo import MongoStore
from khala.store.schema import TASKS
from tests.store.samples import FAILURE, SUCCESS, a_lease, a_task, finish_item

START = datetime(2026, 1, 1, tzinfo=UTC)
#: One in so many tasks is of a user, and has a label.
USERS = LABELS = 10
#: One in so many of the finished tasks has failed.
FAILED_EVERY = 10
#: Beside so many finished tasks, one waits.
QUEUED_EVERY = 10
#: One in so many has a priority.
PRIORITY_EVERY = 3
#: In one statement; a busy server has a deadline for each.
_BATCH = 1000
_GAP = timedelta(milliseconds=20)


class Filling:
    """Makes a store larger, with copies of tasks that came by Khala's own statements."""

    def __init__(self, store: MongoStore) -> None:
        self._store = store
        self._models: dict[str, dict[str, Any]] = {}
        self.size = 0

    async def grow(self, size: int) -> None:
        """Until `size` tasks have ended; a tenth as many wait."""
        if not self._models:
            await self._make_models()
        tasks = self._store.database[TASKS]
        while self.size < size:
            count = min(_BATCH, size - self.size)
            batch = [self._copy(number) for number in range(self.size, self.size + count)]
            batch += [
                self._queued(number)
                for number in range(self.size, self.size + count)
                if number % QUEUED_EVERY == 0
            ]
            await tasks.insert_many(batch, ordered=False)
            self.size += count

    async def _make_models(self) -> None:
        tasks = self._store.database[TASKS]
        for name, outcome in (("succeeded", SUCCESS), ("failed", FAILURE)):
            task = a_task(lease=a_lease())
            await self._store.dispatch.accept(task)
            await self._store.dispatch.finish_if_attempt(finish_item(task.id, outcome=outcome))
            self._models[name] = await self._taken(tasks, task.id)
        waiting = a_task()
        await self._store.dispatch.accept(waiting)
        self._models["queued"] = await self._taken(tasks, waiting.id)

    async def _taken(self, tasks: Any, task: TaskId) -> dict[str, Any]:
        found: dict[str, Any] = await tasks.find_one_and_delete({"_id": ObjectId(task)})
        return found

    def _copy(self, number: int) -> dict[str, Any]:
        failed = number % FAILED_EVERY == 0
        at = self.at(number)
        model = self._models["failed" if failed else "succeeded"]
        return {
            **model,
            "_id": ObjectId(mint_task_id()),
            "spec": {**model["spec"], **_priority_of(number)},
            "user": Int64(number % USERS),
            "labels": [f"course={number % LABELS}"],
            "submitted_at": at,
            "done_at": at + timedelta(seconds=3),
        }

    def _queued(self, number: int) -> dict[str, Any]:
        at = self.at(number)
        model = self._models["queued"]
        return {
            **model,
            "_id": ObjectId(mint_task_id()),
            "spec": {**model["spec"], **_priority_of(number)},
            "user": Int64(number % USERS),
            "submitted_at": at,
            "rank": at,
        }

    def at(self, number: int) -> datetime:
        """When that one was submitted."""
        return START + number * _GAP

    @property
    def middle(self) -> Place:
        return Place(at=self.at(self.size // 2), id=mint_task_id())


def _priority_of(number: int) -> dict[str, int]:
    return {} if number % PRIORITY_EVERY else {"priority": 5}
