"""`GET /api/v2/events`: what happens in the cluster, as one stream for each client, which chooses
what it is told of and goes on where it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, get_args

from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import KhalaError
from khala.model.limits import EVENT_HEARTBEAT_S, EVENT_STALL_S, LABELS
from khala.net.httpd import hang_up
from khala.protocol import v2
from khala.version import VERSION
from roles.gateway.callers import NO_LONGER, Lookout
from roles.gateway.cluster import Cluster
from roles.gateway.event_log import EventLog, Form, Reader, parse_place
from roles.gateway.filters import LabelPair
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.queries import read_query
from roles.gateway.submission import INTEGER_MAX
from roles.gateway.topics import parse_topics

#: Events that follow each other this closely leave in one write; browsers draw no faster.
GATHER_S = 0.05
#: How often the load of the cluster is looked at while somebody wants to know.
QUEUE_INTERVAL_S = 1.0

_HEADERS = {**NOSNIFF, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventsQuery(Struct, frozen=True, kw_only=True):
    #: Any of `tasks`, `nodes`, `queue`, `task:ID` and `job:ID`; `tasks,nodes,queue` unless given.
    topics: tuple[str, ...] = ()
    #: Narrows `tasks`: of this user.
    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None
    #: Narrows `tasks`: `key=value`, all of these.
    label: Annotated[tuple[LabelPair, ...], Meta(max_length=LABELS)] = ()
    #: Begin behind the event with this `id`; the header `Last-Event-ID` says the same.
    after: str | None = None


class EventRoutes:
    """The handler, and what keeps the topic `queue` alive."""

    def __init__(self, log: EventLog, cluster: Cluster) -> None:
        self._log = log
        self._cluster = cluster
        #: Told to the readers of `queue` last; None: some have not been told at all.
        self._load: v2.QueueChange | None = None
        #: Readers that were disconnected because they took nothing.
        self.on_stalled: Callable[[], None] = lambda: None

    @declare(
        Operation(
            method="GET",
            path="/api/v2/events",
            tag="Cluster",
            query=EventsQuery,
            headers=("Last-Event-ID",),
            answers={
                200: Answer(
                    content=Form.EVENTS.value,
                    others={Form.LINES.value: get_args(v2.EventRecord)},
                )
            },
        )
    )
    async def stream_events(self, request: Request) -> HTTPResponse | None:
        """Follow what happens: as an event stream, or as NDJSON."""
        query = read_query(request, EventsQuery)
        topics = parse_topics(query.topics, user=query.user, labels=query.label)
        after = None
        if query.after is not None:
            after = parse_place(query.after, "after")
        elif last := request.headers.get("last-event-id"):
            after = parse_place(last, "Last-Event-ID")
        form = _form_for(request)
        if request.method == "HEAD":
            return HTTPResponse(None, headers=_HEADERS, content_type=form.value)
        reader = self._log.open(topics, form, after)
        if topics.queue:
            self._load = None
        try:
            response = await request.respond(headers=_HEADERS, content_type=form.value)
            await response.send(b"retry: 2000\n\n" if form is Form.EVENTS else b"")
            await response.send(reader.hello(VERSION))
            await _send_all(request, reader, response.send)
            await response.eof()
        except TimeoutError:
            self.on_stalled()
            hang_up(request)
        finally:
            self._log.close(reader)
        return None

    async def watch_queue(self) -> None:
        """Tell readers of the load when it has changed; until cancelled."""
        while True:
            await asyncio.sleep(QUEUE_INTERVAL_S)
            if not self._log.wants(v2.QueueChange(queued=0, running=0, slots=0, free=0)):
                continue
            try:
                seen = await self._cluster.view()
            except KhalaError:
                continue  # the next look is a second away
            load = v2.QueueChange(
                queued=seen.queued, running=seen.leased, slots=seen.slots, free=seen.free
            )
            if load != self._load:
                self._load = load
                self._log.add(load)


async def _send_all(
    request: Request, reader: Reader, send: Callable[[bytes], Awaitable[None]]
) -> None:
    """Until the gateway stops, or who reads may not any more. Raise `TimeoutError` if the other end
    takes nothing."""
    lookout = Lookout(request)
    denied = False
    while not reader.ended and not denied:
        data = await _next_batch(reader)
        denied = await lookout.denies()
        if denied:
            data = reader.denied(NO_LONGER)
        if data:
            async with asyncio.timeout(EVENT_STALL_S):
                await send(data)


async def _next_batch(reader: Reader) -> bytes:
    """What follows, or a sign of life that shows both ends that the other is there."""
    silent_at = time.monotonic() + EVENT_HEARTBEAT_S
    while not reader.ended:
        try:
            async with asyncio.timeout(silent_at - time.monotonic()):
                await reader.wake.wait()
        except TimeoutError:
            return reader.alive()
        await asyncio.sleep(GATHER_S)
        if data := reader.take():
            return data
    return b""


def _form_for(request: Request) -> Form:
    accepts = request.headers.get("accept", "").lower()
    return Form.LINES if "ndjson" in accepts or "jsonl" in accepts else Form.EVENTS
