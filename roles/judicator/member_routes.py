"""The RPC of members: `khala.protocol.members` says what is asked."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Rejected
from khala.model.ids import check_name
from khala.net.httpd import Routes
from khala.protocol.members import Epoch, Member
from roles.judicator.access import caller_of
from roles.judicator.answers import answer, decode
from roles.judicator.members import Members

_decode_member = msgspec.msgpack.Decoder(Member).decode


class MemberRoutes:
    def __init__(self, members: Members) -> None:
        self._members = members

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/members", self.enter)
        routes.add("GET", "/rpc/v1/members", self.show)
        routes.add("DELETE", "/rpc/v1/members/<name:str>", self.remove)
        routes.add("GET", "/rpc/v1/epoch", self.epoch)

    async def enter(self, request: Request) -> HTTPResponse:
        member = decode(_decode_member, request.body)
        check_name(member.name)
        peer = caller_of(request)
        if peer is None or peer.name != member.name:
            raise Rejected("a judicator enters under the name of its certificate alone")
        return answer(await self._members.enter(member))

    async def show(self, _: Request) -> HTTPResponse:
        return answer(await self._members.roster())

    async def epoch(self, _: Request) -> HTTPResponse:
        return answer(Epoch(number=self._members.epoch))

    async def remove(self, _: Request, name: str) -> HTTPResponse:
        return answer(await self._members.remove(name))
