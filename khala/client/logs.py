"""Reading what a task writes, from any place on, across whatever happens to the connection: any
gateway has all of it, so nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from khala.client.failures import Denied
from khala.client.following import Stream, follow
from khala.client.transport import Transport
from khala.model.spec import Stage
from khala.protocol.v2 import LogAlive, LogAttempt, LogChunk, LogDenied, LogEnd, LogGap, LogRecord

StreamName: TypeAlias = Literal["stdout", "stderr"]
#: What a reader is given.
LogEvent: TypeAlias = LogChunk | LogGap | LogAttempt | LogEnd

_decode: Callable[[bytes], LogRecord] = msgspec.json.Decoder(LogRecord).decode


class LogQuery(Struct, frozen=True, kw_only=True):
    """What to read of a log."""

    #: None: both, one after the other.
    stage: Stage | None = None
    #: One of a task's cases, by its number from 1. None: all of them, one after the other.
    case: int | None = None
    #: None: both.
    stream: StreamName | None = None
    #: None: the newest, and the one after it if that is lost.
    attempt: int | None = None
    #: Begin so many lines before the end.
    tail: int | None = None
    #: Go on until the task has ended.
    follow: bool = False

    def parameters(self) -> dict[str, str]:
        given = {
            "stage": self.stage,
            "case": self.case,
            "stream": self.stream,
            "attempt": self.attempt,
            "tail": self.tail,
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
    """Raises `Unavailable` when no gateway has answered for as long as patience lasts, `Denied`
    when the token is not good any more."""
    stream = Stream(
        path=path,
        parameters=query.parameters(),
        decode=_decode,
        id_of=_id_of,
        endless=query.follow,
    )
    async with aclosing(follow(transport, stream)) as records:
        async for record in records:
            if isinstance(record, LogAlive):
                continue
            if isinstance(record, LogDenied):
                raise Denied(record.why)
            yield record
            if isinstance(record, LogEnd):
                return


def _id_of(record: LogRecord) -> str | None:
    return None if isinstance(record, LogAlive) else record.id
