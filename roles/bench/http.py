"""A client that costs little, because it runs on the processors it measures.

A general HTTP client takes a good half of a millisecond of processor time per request, a tenth of
what Khala's own processes spend on a task. This one keeps one connection, sends one request at a
time, and reads answers that say their length, which those of Khala do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from khala.model.errors import Unavailable

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
#: Longer than any answer that the benchmark waits for.
_ANSWER_S = 60.0


class Connection:
    """One request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, path: str) -> bytes:
        """The body of the answer; raise `Unavailable` if it is a refusal."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    async def post(self, path: str, headers: str, body: bytes) -> bytes:
        """Like `get`; `headers` are whole lines."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(body)}"
        return await self._ask(b"%s\r\n\r\n%s" % (head.encode(), body))

    async def _ask(self, request: bytes) -> bytes:
        try:
            async with asyncio.timeout(_ANSWER_S):
                self._writer.write(request)
                head = await self._reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await self._reader.readexactly(int(length[1]) if length else 0)
        except (OSError, EOFError, TimeoutError) as error:
            raise Unavailable(f"no answer to a request of the benchmark: {error!r}") from error
        if not head.startswith(b"HTTP/1.1 200"):
            raise Unavailable(f"a request of the benchmark was refused: {head + body!r}")
        return body


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection to a server of this host."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
