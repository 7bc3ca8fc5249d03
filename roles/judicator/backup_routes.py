"""The RPC of backups: `khala.protocol.backups` says what is asked."""

from __future__ import annotations

import os

from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Rejected
from khala.net.httpd import Routes
from khala.protocol import backups as protocol
from roles.judicator.answers import answer, send
from roles.judicator.backups import Backups, read_pieces

_ONE = "/rpc/v1/backups/<backup:str>"


class BackupRoutes:
    def __init__(self, backups: Backups) -> None:
        self._backups = backups

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/backups", self.list)
        routes.add("POST", "/rpc/v1/backups", self.create)
        routes.add("GET", _ONE, self.show)
        routes.add("DELETE", _ONE, self.remove)
        routes.add("POST", f"{_ONE}/verify", self.verify)
        routes.add("GET", f"{_ONE}/archive", self.read)

    async def list(self, _: Request) -> HTTPResponse:
        return answer(protocol.Backups(items=await self._backups.list()))

    async def create(self, _: Request) -> HTTPResponse:
        return answer(await self._backups.create())

    async def show(self, _: Request, backup: str) -> HTTPResponse:
        return answer(await self._backups.get(backup))

    async def remove(self, _: Request, backup: str) -> HTTPResponse:
        return answer(await self._backups.remove(backup))

    async def verify(self, _: Request, backup: str) -> HTTPResponse:
        return answer(await self._backups.verify(backup))

    async def read(self, request: Request, backup: str) -> None:
        descriptor = await self._backups.open(backup)
        try:
            whole = os.fstat(descriptor).st_size
            first = _number(request, "first", 0)
            size = min(_number(request, "size", whole), max(0, whole - first))
            await send(request, read_pieces(descriptor, first, size), size)
        finally:
            os.close(descriptor)


def _number(request: Request, name: str, default: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 18:
        raise Rejected(f"{name}: bytes, from 0 on; {text[:40]!r} is not", field=name)
    return int(text)
