"""What a task writes, on this terminal: stdout to stdout, stderr to stderr, while it is written."""

from __future__ import annotations

import sys
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import click

from khala.client import AsyncKhala, LogEvent, LogQuery, bytes_of
from khala.model.live import Channel
from khala.protocol.v2 import LogAttempt, LogChunk, LogGap


@dataclass(slots=True)
class Output:
    """Where records go."""

    #: Before each line, when it was written.
    timestamps: bool = False
    #: Say on stderr whose bytes come, where a task has cases.
    name_cases: bool = True
    #: Leave out what is older.
    since: datetime | None = None
    #: In the middle of a line.
    _within: dict[Channel, bool] = field(default_factory=dict)
    #: Whose bytes came last.
    _case: int = 0

    def show(self, record: LogEvent) -> None:
        match record:
            case LogChunk():
                self._enter(record)
                if self.since is None or record.t is None or record.t >= self.since:
                    self._write(record)
            case LogGap():
                missing = record.end - record.first
                click.echo(f"khala: {missing} bytes of {record.stream} were not kept", err=True)
            case LogAttempt():
                click.echo(
                    f"khala: attempt {record.attempt - 1} is over; this is attempt"
                    f" {record.attempt}, from its beginning",
                    err=True,
                )

    def _enter(self, record: LogChunk) -> None:
        if self.name_cases and record.case not in (0, self._case):
            self._case = record.case
            click.echo(f"khala: case {record.case}", err=True)

    def _write(self, record: LogChunk) -> None:
        file = sys.stdout.buffer if record.stream is Channel.STDOUT else sys.stderr.buffer
        data = bytes_of(record)
        file.write(self._timed(record, data) if self.timestamps else data)
        file.flush()

    def _timed(self, record: LogChunk, data: bytes) -> bytes:
        mark = b""
        if record.t is not None:
            mark = f"{record.t:%Y-%m-%dT%H:%M:%S}.{record.t.microsecond // 1000:03}Z ".encode()
        begins = not self._within.get(record.stream)
        self._within[record.stream] = not data.endswith(b"\n")
        lines = data.splitlines(keepends=True)
        return (mark if begins else b"") + mark.join(lines)


def since_of(seconds: float | None) -> datetime | None:
    """None, for all there is, also for an age that goes back further than dates do."""
    try:
        return None if seconds is None else datetime.now(UTC) - timedelta(seconds=seconds)
    except OverflowError:
        return None


async def show_log(khala: AsyncKhala, task: str, query: LogQuery, output: Output) -> None:
    """To its end, or to the end of what is there now."""
    async with aclosing(khala.logs(task, query)) as records:
        async for record in records:
            output.show(record)
