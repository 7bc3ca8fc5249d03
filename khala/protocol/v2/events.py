"""What a reader of the event stream is sent: one record for each event of an event stream, and for
each line of NDJSON. Every record has an `id`; a reader that was interrupted gives the last one back
and is sent what follows it, or a `reset` if that is not known any more."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from khala.model.executor import SessionState
from khala.protocol.v2.tasks import Row


class Hello(Struct, frozen=True, kw_only=True):
    """The gateway that speaks."""

    version: str


class ExecutorChange(Struct, frozen=True, kw_only=True):
    """An executor whose state or free slots changed."""

    name: str
    state: SessionState
    slots: int
    free: int
    seen_at: datetime


class QueueChange(Struct, frozen=True, kw_only=True):
    """The load of the cluster, when it changed; in the words of its status."""

    queued: int
    running: int
    slots: int
    free: int


class Reset(Struct, frozen=True, kw_only=True):
    """Events may be missing before this one: whatever is shown must be read anew."""

    #: A sentence for people.
    why: str


class Denied(Struct, frozen=True, kw_only=True):
    """Who reads may not read any more."""

    #: A sentence for people.
    why: str


class EventHello(Struct, frozen=True, kw_only=True, tag_field="event", tag="hello"):
    """The first of a stream."""

    id: str
    data: Hello


class EventTask(Struct, frozen=True, kw_only=True, tag_field="event", tag="task"):
    """A task is in another state, or was submitted."""

    id: str
    data: Row


class EventExecutor(Struct, frozen=True, kw_only=True, tag_field="event", tag="executor"):
    """An executor has changed."""

    id: str
    data: ExecutorChange


class EventQueue(Struct, frozen=True, kw_only=True, tag_field="event", tag="queue"):
    """The load of the cluster has changed."""

    id: str
    data: QueueChange


class EventReset(Struct, frozen=True, kw_only=True, tag_field="event", tag="reset"):
    """Events may be missing; the stream goes on."""

    id: str
    data: Reset


class EventDenied(Struct, frozen=True, kw_only=True, tag_field="event", tag="denied"):
    """The token has expired or was revoked. The stream is closed, and no other one is opened."""

    id: str
    data: Denied


class EventAlive(Struct, frozen=True, kw_only=True, tag_field="event", tag="alive"):
    """Nothing that was asked for; in NDJSON, where an event stream has comments."""

    id: str


EventRecord: TypeAlias = (
    EventHello | EventTask | EventExecutor | EventQueue | EventReset | EventDenied | EventAlive
)
