"""What attempts write, on its way to whoever watches, while they run.

The files that the sandbox writes outputs into are the buffer: nothing is held in memory but the
one request that is under way, and a slow store makes the requests larger and fewer, never the task
slower. A program that ends sooner than `LIVE_AFTER_S` costs nothing here: its output is stored
once, with the result.

Chunks of a section are sent when all of the ones before it are stored. So whoever finds a byte of a
section knows that the ones before it are complete.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from khala.model.dates import utc_now
from khala.model.errors import KhalaError
from khala.model.limits import (
    CASE_OUTPUT_BYTES,
    CASE_OUTPUTS_BYTES,
    LIVE_AFTER_S,
    LIVE_CHUNK_BYTES,
    LIVE_FLUSH_S,
    LIVE_REQUEST_BYTES,
)
from khala.model.live import Channel, Kept, LiveChunk, Section, Source, stream_of
from khala.model.outcome import Bundle, StageOutcome
from khala.protocol.executor import Run
from sandbox import Growing

log = structlog.get_logger()

#: Pause after a request that failed: a random part of this, doubled each time up to the maximum.
_BACKOFF_S = 0.1
_BACKOFF_MAX_S = 2.0
#: How long the end of an attempt that has no result waits until the last of it is stored.
_LAST_S = 1.0


class LiveChunks(Protocol):
    """Takes chunks, by HTTP to any judicator."""

    async def put_live(self, chunks: Sequence[LiveChunk]) -> None: ...


class Beginning:
    """The beginning of an output that grows: of a case no more is kept."""

    def __init__(self, output: Growing, size_bytes: int) -> None:
        self._output = output
        self._size_bytes = size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        size_bytes = min(size_bytes, self._size_bytes - offset)
        return self._output.read(offset, size_bytes) if size_bytes > 0 else b""


class Ended:
    """An output whose program is over, in the file that it is kept in, from `first` on."""

    def __init__(self, path: Path, kept: Kept, first: int = 0) -> None:
        self._path = path
        self._kept = kept
        self._first = first

    def reaches(self, offset: int) -> bool:
        return self._kept.find(offset).size_bytes > 0

    def read(self, offset: int, size_bytes: int) -> tuple[int, bytes]:
        """The next kept bytes, and their offset."""
        found = self._kept.find(offset)
        if not found.size_bytes:
            return offset, b""
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = min(size_bytes, found.size_bytes)
            return found.offset, os.pread(fd, size, self._first + found.position)
        finally:
            os.close(fd)


@dataclass(slots=True, eq=False)
class _Output:
    """One output of an attempt, and how far it is stored."""

    source: Source
    data: Growing | Ended
    stored: int = 0

    @property
    def waits(self) -> bool:
        """Something of it is not stored."""
        if isinstance(self.data, Ended):
            return self.data.reaches(self.stored)
        return bool(self.data.read(self.stored, 1))

    def next_chunk(self, offset: int) -> LiveChunk | None:
        if isinstance(self.data, Ended):
            offset, data = self.data.read(offset, LIVE_CHUNK_BYTES)
        else:
            data = self.data.read(offset, LIVE_CHUNK_BYTES)
        return (
            LiveChunk(source=self.source, offset=offset, at=utc_now(), data=data) if data else None
        )


@dataclass(slots=True, eq=False)
class LiveAttempt:
    """The outputs of one attempt, in the order of its sections."""

    run: Run
    #: Where the sandbox writes them.
    folder: Path
    sections: dict[Section, list[_Output]] = field(default_factory=dict)
    #: When the last stage began.
    began_at: float = 0.0
    #: All that is there is wanted now; set when it is stored.
    last: asyncio.Event | None = None
    #: Of the outputs of cases.
    kept_bytes: int = 0

    @property
    def hurries(self) -> bool:
        return self.last is not None and not self.last.is_set()

    def began(self, section: Section, stdout: Growing, stderr: Growing) -> None:
        """A program has begun to write; after the one before it was said to be over."""
        if section.case <= 1:  # cases are short, and there are many
            self.began_at = time.monotonic()
        if section.case:
            room = min(CASE_OUTPUT_BYTES, CASE_OUTPUTS_BYTES - self.kept_bytes)
            stdout, stderr = Beginning(stdout, room), Beginning(stderr, room)
        self._set(section, {Channel.STDOUT: stdout, Channel.STDERR: stderr})

    def ended(self, section: Section, outcome: StageOutcome) -> None:
        """It is over, or was answered from a cache."""
        kept = {
            Channel.STDOUT: Kept(outcome.stdout_bytes, outcome.stdout_cut),
            Channel.STDERR: Kept(outcome.stderr_bytes, outcome.stderr_cut),
        }
        paths = {each: self.folder / stream_of(section.stage, each) for each in Channel}
        self._set(section, {each: Ended(paths[each], kept[each]) for each in Channel})

    def case_ended(self, section: Section, kept: StageOutcome, first: int) -> None:
        """What is kept of it stands in the file of all cases, from `first` on."""
        path = self.folder / Bundle.CASES
        self.kept_bytes = first + kept.stdout_bytes + kept.stderr_bytes
        stdout = Ended(path, Kept(kept.stdout_bytes, kept.stdout_cut), first)
        stderr = Ended(path, Kept(kept.stderr_bytes, kept.stderr_cut), first + kept.stdout_bytes)
        self._set(section, {Channel.STDOUT: stdout, Channel.STDERR: stderr})

    def _set(self, section: Section, outputs: Mapping[Channel, Growing | Ended]) -> None:
        known = self.sections.get(section)
        if known is not None:
            for output in known:
                output.data = outputs[output.source.channel]
            return
        task, attempt = self.run
        self.sections[section] = [
            _Output(Source(id=task, attempt=attempt, section=section, channel=channel), data)
            for channel, data in outputs.items()
        ]

    def due(self, now: float) -> list[_Output]:
        """What may be sent now: the outputs of the first section that is not stored as a whole."""
        if self.last is None and now < self.began_at + LIVE_AFTER_S:
            return []
        for section, outputs in list(self.sections.items()):
            waiting = [output for output in outputs if output.waits]
            if waiting:
                return waiting
            if section.case and all(isinstance(output.data, Ended) for output in outputs):
                del self.sections[section]  # there may be hundreds
        return []


class LiveOutput:
    """Sends what the attempts under way have written."""

    def __init__(self, chunks: LiveChunks) -> None:
        self._chunks = chunks
        self._attempts: dict[Run, LiveAttempt] = {}
        self._some = asyncio.Event()

    def open(self, run: Run, folder: Path) -> LiveAttempt:
        """Every attempt must be closed again."""
        attempt = self._attempts[run] = LiveAttempt(run, folder)
        self._some.set()
        return attempt

    def close(self, run: Run) -> None:
        """Its result has all there is, or nobody wants to know."""
        self._attempts.pop(run, None)
        if not self._attempts:
            self._some.clear()

    async def store_rest(self, run: Run) -> None:
        """The attempt ends without a result: these chunks are all that will be left of it. Within
        a second; what is not stored by then is lost."""
        attempt = self._attempts[run]
        if not attempt.sections:
            return
        attempt.last = asyncio.Event()
        try:
            async with asyncio.timeout(_LAST_S):
                await attempt.last.wait()
        except TimeoutError:
            log.warning("live.incomplete", task=run[0], attempt=run[1])

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(LIVE_FLUSH_S)
            while batch := self._gather():
                await self._deliver(batch)
                if sum(len(chunk.data) for chunk in batch) < LIVE_REQUEST_BYTES // 2:
                    if not any(each.hurries for each in self._attempts.values()):
                        break  # nothing is behind: the rest may gather

    def _gather(self) -> list[LiveChunk]:
        """The next request: of every output in turn, until it is full."""
        now = time.monotonic()
        batch: list[LiveChunk] = []
        left = LIVE_REQUEST_BYTES
        turns: list[tuple[_Output, int]] = []
        for attempt in self._attempts.values():
            due = attempt.due(now)
            turns += [(output, output.stored) for output in due]
            if attempt.last is not None and not due:
                attempt.last.set()
        while turns:
            again: list[tuple[_Output, int]] = []
            for output, offset in turns:
                chunk = output.next_chunk(offset)
                if chunk is None:
                    continue
                if len(chunk.data) > left:
                    return batch
                batch.append(chunk)
                left -= len(chunk.data)
                again.append((output, chunk.end))
            turns = again
        return batch

    async def _deliver(self, batch: list[LiveChunk]) -> None:
        """Until it is stored. The very same chunks are repeated: one that was stored unseen must
        not be followed by another one at the same offset."""
        pause_s = _BACKOFF_S
        while batch:
            try:
                await self._chunks.put_live(batch)
            except KhalaError as error:
                if pause_s == _BACKOFF_S:
                    log.warning("live.not_stored", why=error.message)
            else:
                self._stored(batch)
                return
            await asyncio.sleep(random.uniform(0, pause_s))
            pause_s = min(2 * pause_s, _BACKOFF_MAX_S)
            batch = [chunk for chunk in batch if _run_of(chunk) in self._attempts]

    def _stored(self, batch: list[LiveChunk]) -> None:
        for chunk in batch:
            attempt = self._attempts.get(_run_of(chunk))
            for output in attempt.sections[chunk.source.section] if attempt else ():
                if output.source == chunk.source:
                    output.stored = chunk.end


def _run_of(chunk: LiveChunk) -> Run:
    return (chunk.source.id, chunk.source.attempt)
