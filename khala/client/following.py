"""Reading a stream of records across whatever happens to the connection.

Each record has the place behind it as its id. A stream that breaks is asked for again from the last
id on, at whichever gateway answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from khala.client.transport import PAUSE_MAX_S, PAUSE_MIN_S, Transport
from khala.model.errors import OutcomeUnknown, Unavailable

Record = TypeVar("Record")

#: A gateway that answered before is asked again for so long: it may be starting, on a busy host.
_RETURN_S = 60.0
#: A gateway gives a sign of life every 15 s; after two that did not come it is gone.
_SILENCE_S = 40.0


class Stream(Struct, Generic[Record], frozen=True, kw_only=True):
    """What is read: NDJSON of an address."""

    path: str
    parameters: Mapping[str, str]
    decode: Callable[[bytes], Record]
    id_of: Callable[[Record], str | None]
    #: Its end is an interruption; otherwise there is no more.
    endless: bool


async def follow(
    transport: Transport, stream: Stream[Record], after: str | None = None
) -> AsyncGenerator[Record, None]:
    """Raises `Unavailable` when no gateway has answered for as long as patience lasts."""
    patience_s = transport.patience_s
    heard_at = time.monotonic()
    pause_s = PAUSE_MIN_S
    while True:
        try:
            async with aclosing(_read_once(transport, stream, after)) as records:
                async for record in records:
                    heard_at, pause_s = time.monotonic(), PAUSE_MIN_S
                    patience_s = max(_RETURN_S, transport.patience_s)
                    after = stream.id_of(record) or after
                    yield record
            if not stream.endless:
                return
        except (Unavailable, OutcomeUnknown):
            if time.monotonic() + pause_s > heard_at + patience_s:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(PAUSE_MAX_S, pause_s * 2)


async def _read_once(
    transport: Transport, stream: Stream[Record], after: str | None
) -> AsyncGenerator[Record, None]:
    headers = {"Accept": "application/x-ndjson"}
    parameters = dict(stream.parameters)
    if after is not None:
        parameters["after"] = after
    async with transport.open(stream.path, parameters, headers, silence_s=_SILENCE_S) as pieces:
        rest = b""
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                try:
                    record = stream.decode(line)
                except msgspec.MsgspecError as error:
                    raise Unavailable(f"a line of {stream.path} cannot be read: {error}") from error
                yield record
