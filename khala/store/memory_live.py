"""Live output in the memory store; the twin of `khala.store.live`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from msgspec.structs import replace

from khala.model.ids import AttemptNo, TaskId, id_date
from khala.model.live import LiveChunk, Section, Source
from khala.store.dates import to_ms
from khala.store.memory_state import MemoryState


class MemoryLive:
    """`LiveStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def put_live(self, chunks: Sequence[LiveChunk]) -> None:
        for chunk in chunks:
            stored = self._state.live.setdefault(chunk.source, {})
            stored.setdefault(chunk.offset, replace(chunk, at=to_ms(chunk.at)))

    async def read_live(self, source: Source, offset: int, size_bytes: int) -> list[LiveChunk]:
        found: list[LiveChunk] = []
        left = size_bytes
        stored = self._state.live.get(source, {})
        for start in sorted(stored):
            chunk = stored[start]
            if left > 0 and (chunk.end > offset or start >= offset):
                found.append(chunk)
                left -= chunk.end - max(start, offset)
        return found

    async def end_of_live(self, source: Source) -> int:
        return max((chunk.end for chunk in self._state.live.get(source, {}).values()), default=0)

    async def has_live(self, task: TaskId, attempt: AttemptNo, after: Section) -> bool:
        return any(
            (source.id, source.attempt) == (task, attempt) and source.section.index > after.index
            for source in self._state.live
        )

    async def drop_live(self, runs: Sequence[tuple[TaskId, AttemptNo]]) -> None:
        self._drop([s for s in self._state.live if (s.id, s.attempt) in runs])

    async def collect_orphans(self, older_than: timedelta) -> int:
        before = self._state.now() - older_than
        orphans: list[Source] = []
        for source in self._state.live:
            row = self._state.tasks.get(source.id)
            if row is None:
                orphan = id_date(source.id) < before
            else:
                done_at = row.task.done_at
                recorded = row.task.result_attempt == source.attempt
                orphan = recorded and done_at is not None and done_at < before
            if orphan:
                orphans.append(source)
        return self._drop(orphans)

    def _drop(self, sources: Sequence[Source]) -> int:
        return sum(len(self._state.live.pop(source)) for source in sources)
