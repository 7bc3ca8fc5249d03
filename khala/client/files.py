"""What tasks were given and what their cases wrote, byte for byte, as methods of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from khala.client.documents import DocumentCalls
from khala.client.logs import StreamName
from khala.client.transport import parse
from khala.protocol.v2 import InputFile, TaskInputs


class FileCalls(DocumentCalls):
    """A part of `AsyncKhala`."""

    async def get_inputs(self, task: str) -> TaskInputs:
        """All that a task was given; what its own document says is not repeated."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/inputs"
        return parse(TaskInputs, await self._ask("GET", path))

    @asynccontextmanager
    async def open_input(self, file: InputFile) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of one part of it, in pieces. Whoever reads them checks their hash."""
        async with self._transport.open(file.href, {}) as pieces:
            yield pieces

    @asynccontextmanager
    async def open_case_output(
        self, task: str, number: int, stream: StreamName = "stdout"
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes that were kept of an output of case `number`, from 1, in pieces."""
        path = f"/api/v2/tasks/{quote(task, safe='')}/cases/{number}/{stream}"
        async with self._transport.open(path, {}) as pieces:
            yield pieces
