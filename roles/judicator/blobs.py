"""Blobs over RPC. Whoever sends one has checked its hash; whoever uses one checks it again."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.blob import BlobSizes, NewBlob, parse_blob_name, parse_upload_id
from khala.model.errors import NotFound, TooLarge
from khala.model.limits import BLOB_CHUNK_BYTES
from khala.net.httpd import Routes
from khala.protocol.rpc import TouchBlobs
from khala.store.protocols import BlobStore
from roles.judicator.answers import answer, decode, done, send

_decode_new = msgspec.msgpack.Decoder(NewBlob).decode
_decode_touch = msgspec.msgpack.Decoder(TouchBlobs).decode


class BlobRoutes:
    """The handlers; errors are turned into `ErrorBody` by the app factory."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def register(self, routes: Routes) -> None:
        routes.add("PUT", "/rpc/v1/uploads/<upload:str>/<n:int>", self.put_chunk)
        routes.add("POST", "/rpc/v1/blobs", self.add)
        routes.add("POST", "/rpc/v1/blobs/touch", self.touch)
        routes.add("GET", "/rpc/v1/blobs/<name:str>", self.read)

    async def put_chunk(self, request: Request, upload: str, n: int) -> HTTPResponse:
        known = parse_upload_id(upload)
        if len(request.body) > BLOB_CHUNK_BYTES:
            raise TooLarge(
                f"chunk: {len(request.body)} bytes, the limit is {BLOB_CHUNK_BYTES}", field="chunk"
            )
        await self._blobs.put_chunk(known, n, request.body)
        return done()

    async def add(self, request: Request) -> HTTPResponse:
        await self._blobs.add_if_new(decode(_decode_new, request.body))
        return done()

    async def touch(self, request: Request) -> HTTPResponse:
        names = decode(_decode_touch, request.body).names
        return answer(BlobSizes(sizes=await self._blobs.touch(names)))

    async def read(self, request: Request, name: str) -> None:
        known = parse_blob_name(name)
        sizes = await self._blobs.touch([known])
        if known not in sizes:
            raise NotFound(f"blob {known} does not exist")
        await send(request, self._blobs.read(known), sizes[known])
