"""Payload parts that the first versions stored by their task:
`{_id: {t: task, p: part, n: chunk}, data}`.

None are added any more: what is large is a blob now, stored by its content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

from bson import ObjectId

from khala.model.errors import NotFound
from khala.model.ids import TaskId
from khala.model.spec import Part
from khala.store.chunks import Chunks, Owners
from khala.store.codec import Database, Document, object_id
from khala.store.dates import utc_now
from khala.store.schema import PAYLOADS, TASKS

_TASKS = Owners(collection=TASKS, fields={"_id": 1})


class MongoPayloads:
    """`PayloadStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._chunks = Chunks(database, PAYLOADS, "t")

    async def read_part(self, task: TaskId, part: Part) -> AsyncIterator[bytes]:
        """The part in chunks; raise `NotFound` before the first if it was never stored."""
        found = False
        async for chunk in self._chunks.read({"t": object_id(task), "p": part.value}, 0):
            found = True
            yield chunk
        if not found:
            raise NotFound(f"task {task} has no stored part {part}")

    async def collect_orphans(self, older_than: timedelta) -> int:
        """Delete parts whose task was never accepted, of ids minted so long ago."""
        before = utc_now() - older_than

        def orphan(key: Document, tasks: Mapping[ObjectId, Document]) -> bool:
            return key["t"] not in tasks and bool(key["t"].generation_time < before)

        return await self._chunks.sweep(_TASKS, orphan)
