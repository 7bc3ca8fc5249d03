"""Payload parts that are not inline: `{_id: {t: task, p: part, n: chunk}, data}`.

Stored before the task that names them, with the task's id, which is minted first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

from bson import ObjectId

from khala.model.errors import NotFound
from khala.model.ids import TaskId
from khala.model.limits import PAYLOAD_CHUNK_BYTES
from khala.model.spec import Part
from khala.store.blobs import Blobs
from khala.store.codec import Database, Document, object_id
from khala.store.dates import utc_now
from khala.store.parts import cut
from khala.store.schema import PAYLOADS


class MongoPayloads:
    """`PayloadStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._blobs = Blobs(database, PAYLOADS)

    async def put_parts(self, task: TaskId, parts: Mapping[Part, bytes]) -> None:
        """Store whole parts; repeatable with the same bytes."""
        for part, data in parts.items():
            key = _key(task, part)
            for n, chunk in enumerate(cut(data, PAYLOAD_CHUNK_BYTES)):
                await self._blobs.put([{"_id": {**key, "n": n}, "data": chunk}])

    async def read_part(self, task: TaskId, part: Part) -> AsyncIterator[bytes]:
        """The part in chunks; raise `NotFound` before the first if it was never stored."""
        found = False
        async for chunk in self._blobs.read(_key(task, part), 0):
            found = True
            yield chunk
        if not found:
            raise NotFound(f"task {task} has no stored part {part}")

    async def collect_orphans(self, older_than: timedelta) -> int:
        """Delete parts whose task was never accepted, of ids minted so long ago."""
        before = utc_now() - older_than

        def orphan(key: Document, tasks: Mapping[ObjectId, Document]) -> bool:
            return key["t"] not in tasks and bool(key["t"].generation_time < before)

        return await self._blobs.sweep({"_id": 1}, orphan)


def _key(task: TaskId, part: Part) -> Document:
    return {"t": object_id(task), "p": part.value}
