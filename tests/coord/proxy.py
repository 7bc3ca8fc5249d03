"""A TCP proxy that can go silent: the network between a judicator and etcd."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import Self

from tests.coord.etcd import HOST


class Proxy:
    def __init__(self, port: int) -> None:
        self._to = port
        self._passing = asyncio.Event()
        self._passing.set()
        self._ends: set[asyncio.Task[None]] = set()
        #: To be used instead.
        self.endpoint = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, HOST, 0)
        self.endpoint = f"{HOST}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for end in self._ends:
            end.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)

    def cut(self) -> None:
        """Nothing gets through, and nobody is told."""
        self._passing.clear()

    def heal(self) -> None:
        """What was under way arrives now."""
        self._passing.set()

    async def _join(self, reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, self._to)
        for source, target in ((reader, back), (there, writer)):
            end = asyncio.create_task(self._pass(source, target))
            self._ends.add(end)
            end.add_done_callback(self._ends.discard)

    async def _pass(self, source: StreamReader, target: StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._passing.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()
