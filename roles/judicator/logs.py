"""Logs: what attempts wrote, while they run and afterwards, in one way of asking for it.

Before its result is recorded, what an attempt wrote is in its live chunks; from then on the result
is the truth. Offsets are the same in both, so a reader notices nothing of the change. Whatever is
asked is answered from the store: any judicator can, and none has to remember anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from khala.model.errors import KhalaError, NotFound, Unavailable
from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import (
    AUDIT_INTERVAL_S,
    LIVE_RUNS,
    LOG_READ_BYTES,
    OUTPUT_CHUNK_BYTES,
)
from khala.model.live import LiveChunk, Section, Source, kept_of, require_section, stream_of
from khala.model.outcome import Bundle, Chunked, Outcome, Stream, StreamRef
from khala.model.spec import Stage
from khala.model.task import Dispatch, Task, TaskBrief, TaskState
from khala.protocol.rpc import LogPiece, LogView, ReadLog
from khala.store.protocols import LiveStore, OutputStore, TaskStore

#: These are brought by a result and by nothing else.
_RECORDED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED})


class _Part(Struct, frozen=True):
    """Of one channel: bytes, whether there are no more, and how far it reaches if so."""

    pieces: list[LogPiece]
    end: int | None


class Logs:
    """Reads logs."""

    def __init__(
        self,
        tasks: TaskStore,
        outputs: OutputStore,
        live: LiveStore,
        find_ended: Callable[[TaskId], Task | None],
    ) -> None:
        """`find_ended` has tasks that ended here a moment ago."""
        self._tasks = tasks
        self._outputs = outputs
        self._live = live
        self._find_ended = find_ended

    async def read(self, known: TaskId, query: ReadLog) -> LogView:
        task = self._find_ended(known) or await self._tasks.get(known)
        attempt = query.attempt or task.attempt
        if attempt > task.attempt:
            raise NotFound(
                f"attempt: task {known} has had {task.attempt} attempts, {attempt} was asked for",
                field="attempt",
            )
        require_section(task.spec, query.section)
        done = task.dispatch is Dispatch.DONE
        ended = done or attempt < task.attempt
        sources = [
            Source(id=known, attempt=attempt, section=query.section, channel=channel)
            for channel in query.offsets
        ]
        recorded = _result_of(task, attempt)
        if recorded is not None and query.section.case and not recorded.cases:
            recorded = None  # of a try that was not the last, its cases are not remembered
        if recorded is not None:
            parts = {
                source.channel: await self._read_recorded(task, recorded, source, query)
                for source in sources
            }
        else:
            over = ended or await self._is_over(known, attempt, query.section)
            parts = {
                source.channel: await self._read_live(source, query, over=over)
                for source in sources
            }
        return LogView(
            attempt=attempt,
            newest=task.attempt,
            state=task.state,
            reason=task.outcome.reason if task.outcome else None,
            exit_code=_exit_code(task.outcome),
            pieces=[piece for part in parts.values() for piece in part.pieces],
            complete=all(part.end is not None for part in parts.values()),
            ended=ended,
            ends={channel: part.end for channel, part in parts.items() if part.end is not None},
            cases=len(task.spec.cases),
        )

    # ---- while it runs ----------------------------------------------------------------------

    async def _is_over(self, task: TaskId, attempt: AttemptNo, section: Section) -> bool:
        """A later section has begun, which is stored only when all of this one is."""
        if section.stage is Stage.EXECUTE and section.case == 0:
            return False  # there is none
        return await self._live.has_live(task, attempt, section)

    async def _read_live(self, source: Source, query: ReadLog, *, over: bool) -> _Part:
        offset = query.offsets[source.channel]
        if query.back_bytes:
            offset = max(0, await self._live.end_of_live(source) - query.back_bytes)
        chunks = await self._live.read_live(source, offset, LOG_READ_BYTES)
        pieces: list[LogPiece] = []
        at = offset
        for chunk in chunks:
            if chunk.offset > at and not over:
                break  # the chunk before it is on its way
            skip = max(0, at - chunk.offset)
            at = chunk.end
            pieces.append(
                LogPiece(
                    channel=source.channel,
                    offset=chunk.offset + skip,
                    data=chunk.data[skip:],
                    at=chunk.at,
                )
            )
        all_read = sum(len(piece.data) for piece in pieces) < LOG_READ_BYTES
        return _Part(pieces, at if over and all_read else None)

    # ---- afterwards -------------------------------------------------------------------------

    async def _read_recorded(
        self, task: Task, outcome: Outcome, source: Source, query: ReadLog
    ) -> _Part:
        stream = stream_of(source.section.stage, source.channel)
        ref, name, first = _stored_as(outcome, source.section, stream)
        kept = kept_of(outcome, source.section, source.channel)
        offset = query.offsets[source.channel]
        if query.back_bytes:
            offset = max(0, kept.end - query.back_bytes)
        found = kept.find(offset)
        if not found.size_bytes:
            return _Part([], kept.end)
        if ref.inline is not None:
            data = ref.inline[first + found.position :]
        else:
            number, skip = divmod(first + found.position, OUTPUT_CHUNK_BYTES)
            chunks = self._outputs.read_stream(source.id, source.attempt, name, number)
            data = (await anext(chunks, b""))[skip:]
        data = data[: found.size_bytes]
        if not data:
            raise Unavailable(f"task {source.id}: {stream} lacks its byte {found.position}")
        piece = LogPiece(channel=source.channel, offset=found.offset, data=data, at=task.done_at)
        return _Part([piece], kept.end if piece.end >= kept.end else None)


def _stored_as(
    outcome: Outcome, section: Section, stream: Stream
) -> tuple[StreamRef, Chunked, int]:
    """Where an output is, and with what byte of that it begins."""
    nothing = StreamRef(size_bytes=0, inline=b"")
    if not section.case:
        return outcome.streams.get(stream, nothing), stream, 0
    first = outcome.case_span(section.case, stream).first
    return outcome.case_outputs or nothing, Bundle.CASES, first


def _result_of(task: Task, attempt: AttemptNo) -> Outcome | None:
    """What it brought, whether that is the task's result or was followed by another try."""
    if task.result_attempt == attempt:
        return task.outcome
    return next((each.outcome for each in task.past if each.attempt == attempt), None)


def _exit_code(outcome: Outcome | None) -> int | None:
    if outcome is None or outcome.stage is None:
        return None
    decisive = outcome.compile if outcome.stage is Stage.COMPILE else outcome.execute
    return decisive.exit_code if decisive else None


class LiveRuns:
    """Which attempts have live chunks that go when their result is recorded. In memory and
    bounded: what is forgotten here, the sweep of the leader finds."""

    def __init__(self, live: LiveStore) -> None:
        self._live = live
        self._stored: dict[tuple[TaskId, AttemptNo], None] = {}
        self._recorded: list[tuple[TaskId, AttemptNo]] = []

    def stored(self, chunks: Sequence[LiveChunk]) -> None:
        for chunk in chunks:
            self._stored[chunk.source.id, chunk.source.attempt] = None
        while len(self._stored) > LIVE_RUNS:
            del self._stored[next(iter(self._stored))]

    def changed(self, brief: TaskBrief) -> None:
        """Its result is recorded, perhaps; a task that ended without one keeps its chunks."""
        run = (brief.id, brief.attempt)
        if brief.state in _RECORDED and run in self._stored:
            del self._stored[run]
            self._recorded.append(run)

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(AUDIT_INTERVAL_S)
            with suppress(KhalaError):  # the sweep finds them
                await self.drop()

    async def drop(self) -> None:
        due, self._recorded = self._recorded, []
        if due:
            await self._live.drop_live(due)
