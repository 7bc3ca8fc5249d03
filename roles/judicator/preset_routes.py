"""The RPC of presets. What a preset may hold is a gateway's to know: here it is bytes, named."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import TooLarge
from khala.model.limits import PRESET_BYTES
from khala.net.httpd import Routes
from khala.protocol.presets import PresetList, PutPreset
from khala.store.presets import MongoPresets
from roles.judicator.answers import answer, decode

_ONE = "/rpc/v1/presets/<name:str>"
_decode_put = msgspec.msgpack.Decoder(PutPreset).decode


class PresetRoutes:
    def __init__(self, presets: MongoPresets) -> None:
        self._presets = presets

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/presets", self.list)
        routes.add("GET", _ONE, self.get)
        routes.add("PUT", _ONE, self.put)
        routes.add("DELETE", _ONE, self.remove)

    async def list(self, _: Request) -> HTTPResponse:
        return answer(PresetList(presets=await self._presets.list()))

    async def get(self, _: Request, name: str) -> HTTPResponse:
        return answer(await self._presets.get(name))

    async def put(self, request: Request, name: str) -> HTTPResponse:
        given = decode(_decode_put, request.body)
        if len(given.task) > PRESET_BYTES:
            raise TooLarge(f"task: a preset has up to {PRESET_BYTES} bytes, not {len(given.task)}")
        return answer(await self._presets.put(name, given))

    async def remove(self, _: Request, name: str) -> HTTPResponse:
        return answer(await self._presets.remove(name))
