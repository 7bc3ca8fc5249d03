"""The RPC of nodes' examinations (`khala.protocol.doctor`)."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Rejected, TooLarge
from khala.model.ids import check_name
from khala.model.limits import EXAMINATION_BYTES
from khala.net.httpd import Routes
from khala.pki.node import EXECUTOR
from khala.protocol.doctor import Examinations, Report
from khala.store.examinations import MongoExaminations
from roles.judicator.access import caller_of
from roles.judicator.answers import answer, decode, done

_decode_report = msgspec.msgpack.Decoder(Report).decode


class DoctorRoutes:
    def __init__(self, examinations: MongoExaminations) -> None:
        self._examinations = examinations

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/nodes/<name:str>/doctor", self.show)
        routes.add("PUT", "/rpc/v1/nodes/<name:str>/doctor/executor", self.keep)

    async def show(self, _: Request, name: str) -> HTTPResponse:
        return answer(Examinations(items=await self._examinations.of(name)))

    async def keep(self, request: Request, name: str) -> HTTPResponse:
        peer = caller_of(request)
        if peer is not None and peer.role == EXECUTOR and peer.name != name:
            raise Rejected(f"executor {peer.name} may not say how {name[:80]!r} is")
        if len(request.body) > EXAMINATION_BYTES:
            raise TooLarge(
                f"body: a report has up to {EXAMINATION_BYTES} bytes, not {len(request.body)}"
            )
        report = decode(_decode_report, request.body)
        await self._examinations.keep(check_name(name), EXECUTOR, report)
        return done()
