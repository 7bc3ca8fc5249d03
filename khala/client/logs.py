"""Reading what a task writes, from any place on, across whatever happens to the connection.

Each record has the place behind it as its id. A stream that breaks is asked for again from the last
id on, at whichever gateway answers, so nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from khala.client.transport import PAUSE_MAX_S, PAUSE_MIN_S, Transport
from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.spec import Stage
from khala.protocol.v2 import LogAlive, LogAttempt, LogChunk, LogEnd, LogGap, LogRecord

StreamName: TypeAlias = Literal["stdout", "stderr"]
#: What a reader is given.
LogEvent: TypeAlias = LogChunk | LogGap | LogAttempt | LogEnd

#: A gateway that answered before is asked again for so long: it may be starting, on a busy host.
_RETURN_S = 60.0
#: A gateway gives a sign of life every 15 s; after two that did not come it is gone.
_SILENCE_S = 40.0
_decode: Callable[[bytes], LogRecord] = msgspec.json.Decoder(LogRecord).decode


class LogQuery(Struct, frozen=True, kw_only=True):
    """What to read of a log."""

    #: None: both, one after the other.
    stage: Stage | None = None
    #: None: both.
    stream: StreamName | None = None
    #: None: the newest, and the one after it if that is lost.
    attempt: int | None = None
    #: Begin so many lines before the end.
    tail: int | None = None
    #: Go on until the task has ended.
    follow: bool = False

    def parameters(self, after: str | None) -> dict[str, str]:
        given = {
            "stage": self.stage,
            "stream": self.stream,
            "attempt": self.attempt,
            "tail": None if after else self.tail,
            "after": after,
        }
        found = {name: str(value) for name, value in given.items() if value is not None}
        return {**found, "follow": "true"} if self.follow else found


def bytes_of(chunk: LogChunk) -> bytes:
    """What the program wrote."""
    if chunk.text is not None:
        return chunk.text.encode()
    return base64.b64decode(chunk.b64 or "")


async def read_log(
    transport: Transport, path: str, query: LogQuery
) -> AsyncGenerator[LogEvent, None]:
    """Raises `Unavailable` when no gateway has answered for as long as patience lasts."""
    after: str | None = None
    patience_s = transport.patience_s
    heard_at = time.monotonic()
    pause_s = PAUSE_MIN_S
    while True:
        try:
            async for record in _read_once(transport, path, query.parameters(after)):
                heard_at, pause_s = time.monotonic(), PAUSE_MIN_S
                patience_s = max(_RETURN_S, transport.patience_s)
                if isinstance(record, LogAlive):
                    continue
                after = record.id
                yield record
                if isinstance(record, LogEnd):
                    return
            if not query.follow:
                return
        except (Unavailable, OutcomeUnknown):
            if time.monotonic() + pause_s > heard_at + patience_s:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(PAUSE_MAX_S, pause_s * 2)


async def _read_once(
    transport: Transport, path: str, parameters: dict[str, str]
) -> AsyncGenerator[LogRecord, None]:
    headers = {"Accept": "application/x-ndjson"}
    async with transport.open(path, parameters, headers, silence_s=_SILENCE_S) as pieces:
        rest = b""
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield _parse(line)


def _parse(line: bytes) -> LogRecord:
    try:
        return _decode(line)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"a line of the log cannot be read: {error}") from error
