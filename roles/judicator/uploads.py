"""Uploads over RPC: blobs that a gateway passes on bit by bit, and may not live to finish."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.blob import parse_upload_id
from khala.model.errors import TooLarge
from khala.model.limits import BLOB_CHUNK_BYTES
from khala.model.upload import NewUpload
from khala.net.httpd import Routes
from khala.protocol.rpc import CloseUpload, OpenUploads
from khala.store.protocols import UploadStore
from roles.judicator.answers import answer, decode, done, send

_ONE = "/rpc/v1/uploads/<upload:str>"
_decode_new = msgspec.msgpack.Decoder(NewUpload).decode
_decode_close = msgspec.msgpack.Decoder(CloseUpload).decode


class UploadRoutes:
    """The handlers; errors are turned into `ErrorBody` by the app factory."""

    def __init__(self, uploads: UploadStore) -> None:
        self._uploads = uploads

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/uploads", self.open)
        routes.add("GET", "/rpc/v1/uploaders/<user:int>", self.list_open)
        routes.add("GET", _ONE, self.get)
        routes.add("PATCH", f"{_ONE}/from/<offset:int>", self.append)
        routes.add("GET", f"{_ONE}/bytes", self.read)
        routes.add("POST", f"{_ONE}/blob", self.close)
        routes.add("DELETE", _ONE, self.drop)

    async def open(self, request: Request) -> HTTPResponse:
        new = decode(_decode_new, request.body)
        parse_upload_id(new.id)
        return answer(await self._uploads.open_if_room(new))

    async def list_open(self, _: Request, user: int) -> HTTPResponse:
        return answer(OpenUploads(uploads=await self._uploads.list_open(user)))

    async def get(self, _: Request, upload: str) -> HTTPResponse:
        return answer(await self._uploads.get(parse_upload_id(upload)))

    async def append(self, request: Request, upload: str, offset: int) -> HTTPResponse:
        known = parse_upload_id(upload)
        if len(request.body) > BLOB_CHUNK_BYTES:
            raise TooLarge(
                f"body: {len(request.body)} bytes, the limit is {BLOB_CHUNK_BYTES}", field="body"
            )
        return answer(await self._uploads.append_if_at(known, offset, request.body))

    async def read(self, request: Request, upload: str) -> None:
        known = await self._uploads.get(parse_upload_id(upload))
        await send(request, self._uploads.read(known.id), known.size_bytes)

    async def close(self, request: Request, upload: str) -> HTTPResponse:
        known = parse_upload_id(upload)
        await self._uploads.close_if_whole(known, decode(_decode_close, request.body).blob)
        return done()

    async def drop(self, _: Request, upload: str) -> HTTPResponse:
        await self._uploads.drop(parse_upload_id(upload))
        return done()
