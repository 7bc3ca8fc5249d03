"""Live output: `{_id: {t: task, a: attempt, g: section, c: channel, o: offset}, at, data}`.

The key is the place of the first byte, so chunks lie in the order in which they are read, and a
reader finds the one it needs wherever it was interrupted. They are the only copy of what an attempt
wrote until its result is recorded; then the result is the truth and they go. An attempt that never
brings one keeps them for as long as its task exists: they may be all that says what happened to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta

from bson import Int64, ObjectId

from khala.model.ids import AttemptNo, TaskId
from khala.model.live import Channel, LiveChunk, Section, Source
from khala.store.chunks import Chunks, Owners
from khala.store.client import change
from khala.store.codec import Database, Document, object_id
from khala.store.dates import to_ms, utc_now
from khala.store.failures import reading
from khala.store.schema import LIVE, TASKS

_TASKS = Owners(collection=TASKS, fields={"done_at": 1, "result_attempt": 1})
#: Beyond any offset, section or attempt.
_LAST = Int64(2**63 - 1)
#: Documents that the server sends at a time: with chunks of the usual size a read needs no more.
_BATCH = 16


class MongoLive:
    """`LiveStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chunks = Chunks(database, LIVE, "t")
        self._live = database[LIVE]

    async def put_live(self, chunks: Sequence[LiveChunk]) -> None:
        """Store chunks; one that is there already is left alone."""
        await self._chunks.put(
            [
                {
                    "_id": _key(chunk.source, chunk.offset),
                    "at": to_ms(chunk.at),
                    "data": chunk.data,
                }
                for chunk in chunks
            ]
        )

    async def read_live(self, source: Source, offset: int, size_bytes: int) -> list[LiveChunk]:
        first = _key(source, offset)
        with reading():
            before = await self._live.find_one(
                {"_id": {"$gte": _key(source, 0), "$lt": first}}, sort=[("_id", -1)]
            )
            found = [] if before is None else [_chunk_of(before, source)]
            found = [chunk for chunk in found if chunk.end > offset]
            left = size_bytes - sum(chunk.end - offset for chunk in found)
            cursor = (
                self._live.find({"_id": {"$gte": first, "$lte": _key(source, _LAST)}})
                .sort("_id", 1)
                .batch_size(_BATCH)
            )
            async with cursor:
                while left > 0 and (doc := await anext(cursor, None)) is not None:
                    chunk = _chunk_of(doc, source)
                    found.append(chunk)
                    left -= len(chunk.data)
        return found

    async def end_of_live(self, source: Source) -> int:
        key = {"$gte": _key(source, 0), "$lte": _key(source, _LAST)}
        with reading():
            last = await self._live.find_one({"_id": key}, sort=[("_id", -1)])
        return 0 if last is None else _chunk_of(last, source).end

    async def has_live(self, task: TaskId, attempt: AttemptNo, after: Section) -> bool:
        run = {"t": object_id(task), "a": Int64(attempt)}
        later = {"$gte": {**run, "g": Int64(after.index + 1)}, "$lte": {**run, "g": _LAST}}
        with reading():
            return await self._live.find_one({"_id": later}, {"_id": 1}) is not None

    async def drop_live(self, runs: Sequence[tuple[TaskId, AttemptNo]]) -> None:
        """Remove all that these attempts have."""
        ranges = [
            {
                "$gte": {"t": object_id(task), "a": Int64(attempt)},
                "$lt": {"t": object_id(task), "a": Int64(attempt + 1)},
            }
            for task, attempt in runs
        ]
        deletes = [{"q": {"_id": each}, "limit": 0} for each in ranges]
        await change(self._database, {"delete": LIVE, "deletes": deletes})

    async def collect_orphans(self, older_than: timedelta) -> int:
        """Delete what belongs to no task, or to a result that was recorded so long ago."""
        before = utc_now() - older_than

        def orphan(key: Document, tasks: Mapping[ObjectId, Document]) -> bool:
            task = tasks.get(key["t"])
            if task is None:
                return bool(key["t"].generation_time < before)
            done_at = task.get("done_at")
            recorded = task.get("result_attempt") == key["a"]
            return recorded and done_at is not None and bool(done_at < before)

        return await self._chunks.sweep(_TASKS, orphan)


def _key(source: Source, offset: int) -> Document:
    return {
        "t": object_id(source.id),
        "a": Int64(source.attempt),
        "g": Int64(source.section.index),
        "c": 0 if source.channel is Channel.STDOUT else 1,
        "o": Int64(offset),
    }


def _chunk_of(doc: Document, source: Source) -> LiveChunk:
    return LiveChunk(
        source=source,
        offset=int(doc["_id"]["o"]),
        at=doc["at"].astimezone(UTC),
        data=bytes(doc["data"]),
    )
