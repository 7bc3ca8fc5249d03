"""The RPC of a transfer of leadership: `khala.protocol.leadership` says what is asked."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.coordination.handover import Handover
from khala.net.httpd import Routes
from khala.protocol.leadership import Transfer
from roles.judicator.answers import answer, decode

_decode = msgspec.msgpack.Decoder(Transfer).decode


class LeadershipRoutes:
    def __init__(self, handover: Handover) -> None:
        self._handover = handover

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/leadership", self.transfer)

    async def transfer(self, request: Request) -> HTTPResponse:
        asked = decode(_decode, request.body)
        return answer(await self._handover.transfer(asked.to))
