"""What a task writes while it runs, and how a place in it is named.

A place is (attempt, section, channel, offset). The offset counts what the program wrote, not what
was kept of it, so it means the same while the program runs, after its result is recorded, and
where a limit has cut a piece out: a reader that knows how far it is goes on there, whoever it asks
and whatever happened in between.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from khala.model.errors import NotFound
from khala.model.ids import AttemptNo, TaskId
from khala.model.outcome import Outcome, Stream, StreamCut
from khala.model.spec import Stage, TaskSpec


class Channel(StrEnum):
    """Where a program writes to."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Section(Struct, frozen=True, order=True):
    """One program of an attempt. The next one begins when it is over, and so do its bytes: a
    reader is given section after section."""

    stage: Stage
    #: Counts from 1; 0 where the stage runs once.
    case: int = 0

    @property
    def index(self) -> int:
        """Its place in the order of an attempt's sections."""
        return 0 if self.stage is Stage.COMPILE else 1 + self.case

    @classmethod
    def at(cls, index: int) -> Section:
        return cls(Stage.EXECUTE, index - 1) if index else cls(Stage.COMPILE)

    def __str__(self) -> str:
        return f"{self.stage}/{self.case}" if self.case else str(self.stage)


class Source(Struct, frozen=True, kw_only=True):
    """One output of one program of one attempt."""

    id: TaskId
    attempt: AttemptNo
    section: Section
    channel: Channel


class LiveChunk(Struct, frozen=True, kw_only=True):
    """Bytes on their way to whoever watches. Stored once under its source and offset: repeating it
    is harmless, and an attempt that was given up never mixes with the one that counts."""

    source: Source
    offset: int
    #: When they were read from the program, by the clock of its executor.
    at: datetime
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


def require_section(spec: TaskSpec, section: Section) -> None:
    """Raise `NotFound` if the task has no such case."""
    count = len(spec.cases)
    if section.case > count:
        has = f"cases 1 to {count}" if count else "no cases"
        raise NotFound(f"case: the task has {has}, {section.case} was asked for", field="case")


_STREAMS = {
    (Stage.COMPILE, Channel.STDOUT): Stream.COMPILE_OUTPUT,
    (Stage.COMPILE, Channel.STDERR): Stream.COMPILE_ERROR,
    (Stage.EXECUTE, Channel.STDOUT): Stream.EXECUTE_OUTPUT,
    (Stage.EXECUTE, Channel.STDERR): Stream.EXECUTE_ERROR,
}


def stream_of(stage: Stage, channel: Channel) -> Stream:
    """The name under which a result has it."""
    return _STREAMS[stage, channel]


class Stretch(Struct, frozen=True):
    """Bytes that lie behind each other both in what was written and in what is kept."""

    #: Of the first, in what was written and in what is kept.
    offset: int
    position: int
    size_bytes: int


class Kept(Struct, frozen=True):
    """What is kept of an output that has ended: all of it, or its beginning and its end."""

    size_bytes: int
    cut: StreamCut | None = None

    @property
    def end(self) -> int:
        """How much was written."""
        return self.size_bytes if self.cut is None else max(self.cut.seen_bytes, self.size_bytes)

    def find(self, offset: int) -> Stretch:
        """The first kept bytes that were written at `offset` or later; empty at the end."""
        if self.cut is None:
            return Stretch(offset, offset, max(0, self.size_bytes - offset))
        gap_at = self.cut.gap_at
        if offset < gap_at:
            return Stretch(offset, offset, gap_at - offset)
        tail = self.end - (self.size_bytes - gap_at)
        offset = max(offset, tail)
        return Stretch(offset, gap_at + offset - tail, max(0, self.end - offset))


def kept_of(outcome: Outcome, section: Section, channel: Channel) -> Kept:
    """What a result has of one output."""
    if section.case:
        return _kept_of_case(outcome, section.case, channel)
    ref = outcome.streams.get(stream_of(section.stage, channel))
    stage = outcome.compile if section.stage is Stage.COMPILE else outcome.execute
    if ref is None or stage is None:
        return Kept(ref.size_bytes if ref is not None else 0)
    cut = stage.stdout_cut if channel is Channel.STDOUT else stage.stderr_cut
    return Kept(ref.size_bytes, cut)


def _kept_of_case(outcome: Outcome, number: int, channel: Channel) -> Kept:
    ran = outcome.cases[number - 1].execute if number <= len(outcome.cases) else None
    if ran is None:
        return Kept(0)
    if channel is Channel.STDOUT:
        return Kept(ran.stdout_bytes, ran.stdout_cut)
    return Kept(ran.stderr_bytes, ran.stderr_cut)
