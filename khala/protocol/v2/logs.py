"""What a reader of a log is sent: one record for each event of an event stream, and for each line
of NDJSON. Every record has an `id`; a reader that was interrupted gives the last one back and is
sent what follows it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import Struct

from khala.model.live import Channel
from khala.model.outcome import Reason
from khala.model.task import TaskState

#: As `khala.model.spec.Stage`, whose name a part of a task's document has already.
StageWord: TypeAlias = Literal["compile", "execute"]


class LogChunk(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event", tag="chunk"
):
    """Bytes that a program wrote. One of `text` and `b64` is there."""

    id: str
    attempt: int
    stage: StageWord
    stream: Channel
    #: Of the first byte, in all that the program wrote to this stream.
    offset: int
    #: Counts from 1; absent where the stage runs once.
    case: int = 0
    #: When it was read from the program; once the result is recorded: when that was.
    t: datetime | None = None
    #: Where the bytes are UTF-8; a character is never cut.
    text: str | None = None
    #: Where they are not.
    b64: str | None = None


class LogGap(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="event",
    tag="gap",
    rename={"first": "from", "end": "to"},
):
    """Bytes that were written and not kept."""

    id: str
    attempt: int
    stage: StageWord
    stream: Channel
    #: Offset of the first byte that is missing.
    first: int
    #: Offset of the next one that is there.
    end: int
    #: Counts from 1; absent where the stage runs once.
    case: int = 0


class LogAttempt(Struct, frozen=True, kw_only=True, tag_field="event", tag="attempt"):
    """The attempt whose output was sent so far is lost; the next one begins, from byte 0."""

    id: str
    attempt: int


class LogEnd(Struct, frozen=True, kw_only=True, tag_field="event", tag="end"):
    """There is no more to read, and never will be. The stream is closed."""

    id: str
    attempt: int
    #: Of the task; not a final one if only a stage was asked for that is over.
    state: TaskState
    reason: Reason | None
    exit_code: int | None


class LogDenied(Struct, frozen=True, kw_only=True, tag_field="event", tag="denied"):
    """The token has expired or was revoked. The stream is closed, and no other one is opened."""

    id: str
    #: A sentence for people.
    why: str


class LogAlive(Struct, frozen=True, kw_only=True, tag_field="event", tag="alive"):
    """Nothing new; in NDJSON, where an event stream has comments."""


LogRecord: TypeAlias = LogChunk | LogGap | LogAttempt | LogEnd | LogDenied | LogAlive
