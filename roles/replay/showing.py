"""What a replay writes, on this terminal, while it writes it: as `khala.pex run` shows it.

The place that the executor's live output is read from is read here, so that what is seen is what
would have been stored. Writing happens in a thread: a reader who lets us wait must not make the
clock wait that ends a stage.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import click

from khala.model.live import Channel, LiveChunk
from khala.model.spec import Stage
from roles.executor.live import LiveAttempt

_LOOK_S = 0.05


class Shown:
    """Of one attempt; `quiet`, nothing of it."""

    def __init__(self, live: LiveAttempt, *, quiet: bool) -> None:
        self._live = live
        live.last = asyncio.Event()  # however short it is, it is shown at once
        self._quiet = quiet
        self._over = asyncio.Event()

    def end(self) -> None:
        """The attempt is over: nothing more is written."""
        self._over.set()

    async def serve(self) -> None:
        """Until all of it is shown."""
        while not self._over.is_set():
            await self._show()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._over.wait()
        await self._show()

    async def _show(self) -> None:
        """All that is there now."""
        while chunks := [*self._next_chunks()]:
            for chunk, missing in chunks:
                if not self._quiet and chunk.source.section.stage is Stage.EXECUTE:
                    await asyncio.to_thread(_write, chunk, missing)

    def _next_chunks(self) -> Iterator[tuple[LiveChunk, int]]:
        """The next one of each output, and how many bytes before it were not kept."""
        for output in self._live.due(time.monotonic()):
            chunk = output.next_chunk(output.stored)
            if chunk is not None:
                yield chunk, chunk.offset - output.stored
                output.stored = chunk.end


def _write(chunk: LiveChunk, missing: int) -> None:
    channel = chunk.source.channel
    if missing:
        click.echo(f"khala: {missing} bytes of {channel} were not kept", err=True)
    file = sys.stdout.buffer if channel is Channel.STDOUT else sys.stderr.buffer
    file.write(chunk.data)
    file.flush()
