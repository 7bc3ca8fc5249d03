"""Outputs that are not inline: `{_id: {t: task, a: attempt, s: stream, n: chunk}, data}`.

A chunk belongs to one attempt, so the output of a run that was given up can never mix with that
of the run that counted. Chunks arrive while the task runs (live output) or before its result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta

from bson import Int64, ObjectId

from khala.model.ids import AttemptNo, TaskId
from khala.model.outcome import Chunked
from khala.model.statements import ChunkItem
from khala.store.chunks import Chunks, Owners
from khala.store.codec import Database, Document, object_id
from khala.store.dates import utc_now
from khala.store.schema import OUTPUTS, TASKS

_TASKS = Owners(
    collection=TASKS,
    fields={"done_at": 1, "attempt": 1, "past.attempt": 1, "past.outcome.reason": 1},
)


class MongoOutputs:
    """`OutputStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._chunks = Chunks(database, OUTPUTS, "t")

    async def put_chunks(self, items: Sequence[ChunkItem]) -> None:
        """Store chunks; one that is there already is left alone."""
        await self._chunks.put(
            [
                {
                    "_id": {**_key(item.id, item.attempt, item.stream), "n": item.n},
                    "data": item.data,
                }
                for item in items
            ]
        )

    def read_stream(
        self, task: TaskId, attempt: AttemptNo, stream: Chunked, first: int = 0
    ) -> AsyncIterator[bytes]:
        """Chunks from number `first` on, as far as they are stored without a gap."""
        return self._chunks.read(_key(task, attempt, stream), first)

    async def collect_orphans(self, older_than: timedelta) -> int:
        """Delete the output of lost attempts, so long after the task's end. The last one's stays
        also if it has no result: it shows how far a cancelled task came."""
        before = utc_now() - older_than

        def orphan(key: Document, tasks: Mapping[ObjectId, Document]) -> bool:
            task = tasks.get(key["t"])
            if task is None:
                return bool(key["t"].generation_time < before)
            return _ended_before(task, before) and key["a"] not in _readable(task)

        return await self._chunks.sweep(_TASKS, orphan)


def _readable(task: Document) -> set[int]:
    """Attempts with a result, as far as they are remembered, and the last one."""
    retried = {each["attempt"] for each in task.get("past", ()) if "outcome" in each}
    return {task["attempt"], *retried}


def _ended_before(task: Document, before: datetime) -> bool:
    done_at = task.get("done_at")
    return done_at is not None and done_at < before


def _key(task: TaskId, attempt: AttemptNo, stream: Chunked) -> Document:
    return {"t": object_id(task), "a": Int64(attempt), "s": stream.value}
