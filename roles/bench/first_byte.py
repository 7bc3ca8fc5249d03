"""(f) Live output: how late it is that somebody who watches sees what a program has just written.

The program writes the time, again and again, and the reader compares it with its own when the line
is there: by the clock of one host, so nothing is added or hidden. Once through a bare pipe, once
from the jail through executor, judicator, MongoDB and gateway to the client that people use.
"""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterable
from contextlib import aclosing

from msgspec import Struct

from khala.client import AsyncKhala, LogQuery, NewTask, StageOf, bytes_of
from khala.model.errors import Unavailable
from khala.model.spec import Stage
from khala.protocol.v2 import LogChunk
from roles.bench.stack import Stack
from roles.bench.stats import Latency, summarize

#: A program writes so often, with pauses in between that end neither with a flush nor a heartbeat.
_LINES = 4
_PROGRAM = 'for pause in 0.13 0.17 0.19 0.23; do echo "$EPOCHREALTIME"; sleep $pause; done'


class Slice(Struct, frozen=True, kw_only=True):
    """One round, in seconds from writing to seeing."""

    #: Of the first line of each program.
    first_s: list[float]
    later_s: list[float]
    pipe_s: list[float]


class FirstByte(Struct, frozen=True, kw_only=True):
    programs: int
    first: Latency
    #: Of every other line.
    later: Latency
    #: Of all lines, through a pipe of this process.
    pipe: Latency


async def measure(stack: Stack, programs: int) -> Slice:
    first: list[float] = []
    later: list[float] = []
    pipe: list[float] = []
    async with AsyncKhala(f"http://127.0.0.1:{stack.ports.http}") as khala:
        for _ in range(programs):
            pipe += await _watch_pipe()
            head, *rest = await _watch_task(khala)
            first.append(head)
            later += rest
    return Slice(first_s=first, later_s=later, pipe_s=pipe)


def combine(slices: list[Slice]) -> FirstByte:
    """All rounds into one figure each."""
    first = [sample for each in slices for sample in each.first_s]
    return FirstByte(
        programs=len(first),
        first=summarize(first),
        later=summarize([sample for each in slices for sample in each.later_s]),
        pipe=summarize([sample for each in slices for sample in each.pipe_s]),
    )


async def _watch_task(khala: AsyncKhala) -> list[float]:
    task = await khala.submit(NewTask(execute=StageOf(command=_PROGRAM)))
    query = LogQuery(stage=Stage.EXECUTE, stream="stdout", follow=True)
    late: list[float] = []
    async with aclosing(khala.logs(task, query)) as records:
        async for record in records:
            if isinstance(record, LogChunk):
                late += _ages(bytes_of(record).splitlines())
    if len(late) != _LINES:
        raise Unavailable(f"task {task} was heard {len(late)} times, and wrote {_LINES} lines")
    return late


async def _watch_pipe() -> list[float]:
    process = await asyncio.create_subprocess_exec("bash", "-c", _PROGRAM, stdout=PIPE)
    if process.stdout is None:
        raise Unavailable("the program has no output")
    late: list[float] = []
    async for line in process.stdout:
        late += _ages([line])
    await process.wait()
    return late


def _ages(lines: Iterable[bytes]) -> list[float]:
    now = time.time()
    return [now - float(line) for line in lines]
