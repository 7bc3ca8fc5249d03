"""Following what happens in the cluster, across whatever happens to the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TypeAlias

import msgspec
from msgspec import Struct

from khala.client.failures import Denied
from khala.client.following import Stream, follow
from khala.client.transport import Transport
from khala.protocol.v2 import (
    EventAlive,
    EventDenied,
    EventExecutor,
    EventHello,
    EventQueue,
    EventRecord,
    EventReset,
    EventTask,
)

#: What a reader is given. The hello comes once, when nothing can be missed any more without a
#: reset.
Event: TypeAlias = EventHello | EventTask | EventExecutor | EventQueue | EventReset

_PATH = "/api/v2/events"
_decode: Callable[[bytes], EventRecord] = msgspec.json.Decoder(EventRecord).decode


class EventQuery(Struct, frozen=True, kw_only=True):
    """What to hear of."""

    #: Any of `tasks`, `nodes`, `queue`, `task:ID` and `job:ID`.
    topics: tuple[str, ...] = ("tasks", "nodes", "queue")
    #: Narrows `tasks`: of this user.
    user: int | None = None
    #: Narrows `tasks`: with all of these labels.
    labels: Mapping[str, str] = {}
    #: Begin behind the event with this id.
    after: str | None = None

    def parameters(self) -> dict[str, str]:
        found = {"topics": ",".join(self.topics)}
        if self.user is not None:
            found["user"] = str(self.user)
        if self.labels:
            found["label"] = ",".join(f"{key}={value}" for key, value in self.labels.items())
        return found


async def read_events(transport: Transport, query: EventQuery) -> AsyncGenerator[Event, None]:
    """Never ends. Raises `Unavailable` when no gateway has answered for as long as patience
    lasts, `Denied` when the token is not good any more."""
    stream = Stream(
        path=_PATH, parameters=query.parameters(), decode=_decode, id_of=_id_of, endless=True
    )
    greeted = False
    async with aclosing(follow(transport, stream, query.after)) as records:
        async for record in records:
            match record:
                case EventAlive():
                    continue
                case EventDenied():
                    raise Denied(record.data.why)
                case EventHello() if greeted:
                    continue
                case EventHello():
                    greeted = True
                    yield record
                case _:
                    yield record


def _id_of(record: EventRecord) -> str:
    return record.id
