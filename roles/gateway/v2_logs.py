"""`GET /api/v2/tasks/{id}/logs`: what a task writes, from its first byte on, while it runs and
afterwards.

The bytes are strangers': as plain text they are for reading and saving, never to be interpreted in
this origin.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import get_args

from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Unavailable
from khala.model.ids import TaskId, parse_task_id
from khala.model.limits import LOG_FOLLOWERS, LOG_STALL_S, LOG_TAIL_BYTES
from khala.model.live import Section
from khala.model.spec import Stage
from khala.net.client import JudicatorClient
from khala.net.httpd import hang_up, keep_open
from khala.protocol import v2
from khala.protocol.rpc import LogPiece, ReadLog
from khala.protocol.v2 import ProblemCode
from roles.gateway.callers import NO_LONGER, Lookout
from roles.gateway.hub import Hub
from roles.gateway.log_format import Bytes, EventStream, Format, Lines, TimedLines
from roles.gateway.log_place import LogPlace
from roles.gateway.log_query import LogRequest, LogsQuery, log_request_of
from roles.gateway.log_range import Extent, find_extent
from roles.gateway.log_reader import Item, LogReader, Written, with_cases
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.queries import read_query
from roles.gateway.ranges import parse_range

_TEXT, _EVENTS, _LINES = (kind.media_type.partition(";")[0] for kind in (Bytes, EventStream, Lines))
_HEADERS = {
    **NOSNIFF,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class LogRoutes:
    """The handler, and how many read at the moment."""

    def __init__(self, client: JudicatorClient, hub: Hub) -> None:
        self._client = client
        self._hub = hub
        self.followers = 0
        #: Readers that were disconnected because they took nothing.
        self.on_stalled: Callable[[], None] = lambda: None

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks/<task_id:str>/logs",
            tag="Tasks",
            query=LogsQuery,
            headers=("Range", "Last-Event-ID"),
            answers={
                200: Answer(content=_TEXT, others={_EVENTS: None, _LINES: get_args(v2.LogRecord)}),
                204: Answer(content=""),
                206: Answer(content=_TEXT, headers=("Content-Range",)),
                416: Answer(content="", headers=("Content-Range",)),
            },
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def read_logs(self, request: Request, task_id: str) -> HTTPResponse | None:
        """Read what a task writes, while it runs and afterwards: as bytes, as an event stream, or
        as NDJSON. An event stream whose end was sent already is answered with 204."""
        task = parse_task_id(task_id)
        given = read_query(request, LogsQuery)
        wanted = log_request_of(given, request.headers.get("last-event-id"))
        if wanted.place.ended:
            return HTTPResponse(None, status=204, headers=_HEADERS)  # an EventSource stops at it
        if wanted.tail is not None:
            wanted = replace(wanted, place=await self._tail_of(task, wanted, wanted.tail))
        form = _format_for(request, wanted)
        if isinstance(form, Bytes) and wanted.single and not wanted.query.follow:
            extent = await find_extent(self._client, task, wanted.query)
            if extent is not None:
                return await self._download(request, task, wanted, extent)
        return await self._stream(request, task, wanted, form)

    # ---- as it comes ------------------------------------------------------------------------

    async def _stream(
        self, request: Request, task: TaskId, wanted: LogRequest, form: Format
    ) -> HTTPResponse | None:
        reader = LogReader(self._client, task, wanted.query, wanted.place)
        with self._counted(follow=wanted.query.follow):
            first = await reader.read()  # a failure up to here has a status of its own
            if request.method == "HEAD":
                return HTTPResponse(None, headers=_HEADERS, content_type=form.media_type)
            response = await request.respond(headers=_HEADERS, content_type=form.media_type)
            keep_open(request)
            lookout = Lookout(request)
            # With it go the headers: whoever reads knows that it is read to.
            await response.send(b"retry: 2000\n\n" if isinstance(form, EventStream) else b"")
            try:
                async with aclosing(self._batches(reader, first, wanted)) as batches:
                    async for items in batches:
                        denied = await lookout.denies()
                        data = form.deny(NO_LONGER) if denied else form.encode(items)
                        if not data and denied:
                            hang_up(request)  # these bytes have no end of their own
                            return None
                        if not data:
                            keep_open(request)
                            continue
                        async with asyncio.timeout(LOG_STALL_S):
                            await response.send(data)
                        if denied:
                            break
                await response.eof()
            except TimeoutError:
                self.on_stalled()
                hang_up(request)
        return None

    async def _batches(
        self, reader: LogReader, first: list[Item], wanted: LogRequest
    ) -> AsyncGenerator[list[Item], None]:
        left = wanted.limit
        async for items in self._all(reader, first, follow=wanted.query.follow):
            if left is None:
                yield items
                continue
            within, left = _limit(items, left)
            yield within
            if not left:
                return

    async def _all(
        self, reader: LogReader, first: list[Item], *, follow: bool
    ) -> AsyncGenerator[list[Item], None]:
        if first:
            yield first
        if reader.over:
            return
        if follow:
            async with aclosing(reader.follow(self._hub)) as batches:
                async for items in batches:
                    yield items
            return
        while items := await reader.read():
            yield items

    @contextmanager
    def _counted(self, *, follow: bool) -> Iterator[None]:
        if not follow:
            yield
            return
        if self.followers >= LOG_FOLLOWERS:
            raise Unavailable(
                f"{LOG_FOLLOWERS} readers follow logs at this gateway, which is the limit; retry"
                " later, at another gateway, or without follow"
            )
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1

    # ---- a part of it -----------------------------------------------------------------------

    async def _download(
        self, request: Request, task: TaskId, wanted: LogRequest, extent: Extent
    ) -> HTTPResponse | None:
        """The kept bytes of one output, or a range of them."""
        start = extent.position_of(wanted.place.offset(wanted.query.channels[0]))
        whole = range(start, extent.size_bytes)
        if wanted.limit is not None:
            whole = whole[: wanted.limit]
        part = parse_range(request.headers.get("range"), whole)
        headers = {**_HEADERS, "Accept-Ranges": "bytes"}
        total = str(len(whole)) if extent.final else "*"
        if part is None:
            headers["Content-Range"] = f"bytes */{len(whole)}"
            return HTTPResponse(None, status=416, headers=headers)
        headers["Content-Length"] = str(len(part))
        status = 200
        if "range" in request.headers and part:
            first = part.start - whole.start
            headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{total}"
            status = 206
        if request.method == "HEAD" or not part:
            return HTTPResponse(None, status=status, headers=headers, content_type=Bytes.media_type)
        pieces = self._pieces(task, wanted, extent, part)
        async with aclosing(pieces):
            data = await anext(pieces)  # a failure up to here has a status of its own
            response = await request.respond(
                status=status, headers=headers, content_type=Bytes.media_type
            )
            await response.send(data)
            async for data in pieces:
                await response.send(data)
            await response.eof()
        return None

    async def _pieces(
        self, task: TaskId, wanted: LogRequest, extent: Extent, part: range
    ) -> AsyncGenerator[bytes, None]:
        channel = wanted.query.channels[0]
        place = LogPlace(attempt=extent.attempt, section=wanted.query.sections[0])
        place = place.moved(channel, extent.offset_of(part.start))
        reader = LogReader(self._client, task, wanted.query, place)
        left = len(part)
        while left:
            items, left = _limit(await reader.read(), left)
            if not items:
                raise Unavailable("a part of the log is not there any more")
            yield Bytes().encode(items)

    async def _tail_of(self, task: TaskId, wanted: LogRequest, lines: int) -> LogPlace:
        """Where the last lines begin: of each channel, in the last section that has any."""
        query = wanted.query
        place = wanted.place
        sections = list(query.sections)
        while sections:
            section = sections.pop()
            view = await self._client.read_log(
                task,
                ReadLog(
                    attempt=query.attempt,
                    section=section,
                    offsets=dict.fromkeys(query.channels, 0),
                    back_bytes=LOG_TAIL_BYTES,
                ),
            )
            if section == Section(Stage.EXECUTE) and view.cases:
                sections += with_cases((section,), view.cases)
                continue
            place = LogPlace(attempt=view.attempt, section=section)
            for channel in query.channels:
                pieces = [piece for piece in view.pieces if piece.channel is channel]
                place = place.moved(channel, tail_offset(pieces, lines))
            if view.pieces:
                break
        return place


def tail_offset(pieces: list[LogPiece], lines: int) -> int:
    """Where the last `lines` lines of these pieces begin; at most as far back as they reach."""
    if not pieces:
        return 0
    end = pieces[-1].end
    if not lines:
        return end
    # The break at the very end begins no line.
    left = lines + (1 if pieces[-1].data.endswith(b"\n") else 0)
    for piece in reversed(pieces):
        at = len(piece.data)
        while left and (at := piece.data.rfind(b"\n", 0, at)) >= 0:
            left -= 1
            if not left:
                return piece.offset + at + 1
    return pieces[0].offset


def _limit(items: list[Item], left: int) -> tuple[list[Item], int]:
    """The items up to the byte where no more are wanted, and how many still are then."""
    kept: list[Item] = []
    for item in items:
        if isinstance(item, Written):
            data = item.data[:left]
            left -= len(data)
            kept.append(replace(item, data=data))
        else:
            kept.append(item)
        if not left:
            break
    return kept, left


def _format_for(request: Request, wanted: LogRequest) -> Format:
    accepts = request.headers.get("accept", "").lower()
    if "text/event-stream" in accepts:
        return EventStream(wanted.place)
    if "ndjson" in accepts or "jsonl" in accepts:
        return Lines(wanted.place)
    return TimedLines() if wanted.timestamps else Bytes()
