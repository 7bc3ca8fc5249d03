"""The RPC of the queue.

What is next is read at each question, because it costs no more than it shows. Whose the tasks are
is counted, so that is believed for a moment: many who look cost no more than one who does.
"""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Rejected
from khala.model.ids import parse_task_id
from khala.model.limits import QUEUE_SHOWN
from khala.net.httpd import Routes
from khala.protocol.queue import QueueView, ReadQueue
from khala.store.queue import MongoQueue
from roles.judicator.answers import answer, decode
from roles.judicator.believed import Believed

_decode = msgspec.msgpack.Decoder(ReadQueue).decode


class QueueRoutes:
    def __init__(self, queue: MongoQueue) -> None:
        self._queue = queue
        self._loads = Believed(queue.count_users)
        self._lines = Believed(queue.find_lines)

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/queue", self.read)
        routes.add("GET", "/rpc/v1/queue/<task_id:str>", self.find_place)
        routes.add("GET", "/rpc/v1/ahead/<task_id:str>", self.find_ahead)
        routes.add("GET", "/rpc/v1/lines", self.find_lines)

    async def read(self, request: Request) -> HTTPResponse:
        query = decode(_decode, request.body)
        if not 1 <= query.limit <= QUEUE_SHOWN:
            raise Rejected(f"limit: 1 to {QUEUE_SHOWN}, {query.limit} given", field="limit")
        return answer(
            QueueView(
                head=await self._queue.read(query),
                totals=await self._queue.count(),
                loads=await self._loads.load(),
            )
        )

    async def find_place(self, _: Request, task_id: str) -> HTTPResponse:
        return answer(await self._queue.find_place(parse_task_id(task_id)))

    async def find_ahead(self, _: Request, task_id: str) -> HTTPResponse:
        return answer(await self._queue.find_ahead(parse_task_id(task_id)))

    async def find_lines(self, _: Request) -> HTTPResponse:
        return answer(await self._lines.load())
