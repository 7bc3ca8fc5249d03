"""Large bodies: how much of them a gateway holds at once.

A handful of large submissions must not exhaust the memory that everybody's requests share, so
each reserves its size before it is read and is asked to come back when there is no room.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from sanic import Request
from sanic.http import Http

from khala.model.errors import Rejected, TooLarge, Unavailable

Given = ParamSpec("Given")
Made = TypeVar("Made")
#: Work on a body above this leaves the event loop to the others.
LARGE_BYTES = 256 * 1024
#: Whole-body deadline; 64 MiB through a line of 2 Mbit/s.
BODY_S = 300.0
#: A body that is refused is read and dropped up to this, so that its sender gets to read why.
DRAIN_BYTES = 256 * 1024 * 1024
DRAIN_S = 30.0


class Budget:
    """Bytes that requests under way may hold, together."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._taken = 0

    @contextmanager
    def reserve(self, size_bytes: int) -> Iterator[None]:
        """Raise `Unavailable` if there is no room. What exceeds the total gets it alone."""
        if self._taken and self._taken + size_bytes > self._total:
            raise Unavailable(
                "too many large requests are under way; send it again in a few seconds"
            )
        self._taken += size_bytes
        try:
            yield
        finally:
            self._taken -= size_bytes


def announced_bytes(request: Request, limit_bytes: int) -> int:
    """What the request says it will send; the limit itself if it does not say."""
    text = request.headers.get("content-length")
    if text is None:
        chunked = request.headers.get("transfer-encoding") is not None
        return limit_bytes if chunked else 0
    if not text.isdecimal():
        raise Rejected("Content-Length: it is not a number")
    return int(text)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The body of a streaming route; raise `TooLarge` once it exceeds the limit."""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in pieces_of(request):
                size += len(piece)
                if size > limit_bytes:
                    raise too_large(limit_bytes)
                pieces.append(piece)
    except TimeoutError as error:
        raise Rejected(f"body: it did not arrive within {BODY_S:.0f} s") from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def drop_body(request: Request) -> None:
    """Read what is still coming and forget it; a connection that is closed while its peer sends
    loses the answer on the way."""
    size = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            async for piece in pieces_of(request):
                size += len(piece)
                if size > DRAIN_BYTES:
                    return
    except TimeoutError:
        return


async def pieces_of(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream
    while isinstance(stream, Http) and stream.request_body:
        piece = await stream.read()
        if piece:
            yield piece


def too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"body: it is larger than the limit of {limit_bytes} bytes (--max-body)")


async def off_loop(
    large: bool, work: Callable[Given, Made], *given: Given.args, **named: Given.kwargs
) -> Made:
    """In a thread if it is on something large."""
    if large:
        return await asyncio.to_thread(work, *given, **named)
    return work(*given, **named)
