"""What attempts write, over RPC: stored while they run, read at any time."""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import TooLarge
from khala.model.ids import parse_task_id
from khala.model.limits import LIVE_REQUEST_BYTES
from khala.net.httpd import Routes
from khala.protocol.rpc import PutLive, ReadLog
from khala.store.protocols import Lanes
from roles.judicator.answers import answer, decode, done
from roles.judicator.events import Events
from roles.judicator.logs import LiveRuns, Logs
from roles.judicator.metrics import Metrics

_decode_put = msgspec.msgpack.Decoder(PutLive).decode
_decode_read = msgspec.msgpack.Decoder(ReadLog).decode


class LogRoutes(Struct, frozen=True, kw_only=True):
    """The handlers; errors are turned into `ErrorBody` by the app factory."""

    logs: Logs
    runs: LiveRuns
    lanes: Lanes
    events: Events
    metrics: Metrics

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/live", self.put)
        routes.add("POST", "/rpc/v1/logs/<task_id:str>", self.read)

    async def put(self, request: Request) -> HTTPResponse:
        """Stored first, then told of: whoever is told finds it."""
        chunks = decode(_decode_put, request.body).chunks
        size = sum(len(chunk.data) for chunk in chunks)
        if size > LIVE_REQUEST_BYTES:
            raise TooLarge(f"chunks: {size} bytes, the limit is {LIVE_REQUEST_BYTES}")
        await asyncio.gather(*(self.lanes.live(chunk) for chunk in chunks))
        self.runs.stored(chunks)
        self.metrics.count_live(chunks)
        for task in {chunk.source.id for chunk in chunks}:
            self.events.publish_log(task)
        return done()

    async def read(self, request: Request, task_id: str) -> HTTPResponse:
        query = decode(_decode_read, request.body)
        return answer(await self.logs.read(parse_task_id(task_id), query))
