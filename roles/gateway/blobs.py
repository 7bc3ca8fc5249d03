"""`/api/v2/blobs/{sha256}`: bytes sent once, and named by any number of tasks.

A body is cut into chunks that are stored while it arrives, so a blob costs the gateway two chunks
of memory however large it is. It becomes a blob only when its last byte has been hashed and the
hash is its name: a broken upload, or one of other bytes, leaves nothing that anybody could name.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.blob import PREFIX, BlobName, NewBlob, UploadId, parse_blob_name
from khala.model.errors import KhalaError, NotFound, Rejected, TooLarge
from khala.model.ids import mint_task_id
from khala.model.limits import BLOB_CHUNK_BYTES
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.v2 import ProblemCode
from roles.gateway.artifacts import FILE_HEADERS, pass_on
from roles.gateway.bodies import Budget, announced_bytes, drop_body, pieces_of
from roles.gateway.config import GatewayConfig
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.pages import NOSNIFF

BLOBS = "/api/v2/blobs"
_BYTES = "application/octet-stream"
#: Held of uploads under way; above it the next one waits for a retry. Apart from the tasks', which
#: must not wait for somebody's gigabyte.
BLOBS_BYTES = 16 * 2 * BLOB_CHUNK_BYTES
#: A sender that is silent for this long has gone.
SILENCE_S = 60.0


class BlobRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and what they need."""

    client: JudicatorClient
    config: GatewayConfig
    budget: Budget

    @declare(
        Operation(
            method="GET",
            path=f"{BLOBS}/<blob:str>",
            tag="Blobs",
            answers={200: Answer(content=_BYTES, headers=("ETag",))},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def download_blob(self, request: Request, blob: str) -> HTTPResponse | None:
        """Read a blob. To ask for one (HEAD will do) keeps it for another day."""
        known = parse_blob_name(blob)
        size = (await self.client.touch_blobs([known])).get(known)
        if size is None:
            raise NotFound(f"there is no blob {PREFIX}{known}; send it with PUT")
        headers = {**FILE_HEADERS, "Content-Length": str(size), "ETag": f'"{known}"'}
        if request.method == "HEAD" or not size:
            return HTTPResponse(None, headers=headers, content_type=_BYTES)
        await pass_on(request, 200, headers, self.client.open_blob(known))
        return None

    @declare(
        Operation(
            method="PUT",
            path=f"{BLOBS}/<blob:str>",
            tag="Blobs",
            request={_BYTES: None},
            answers={
                200: Answer(v2.Blob, headers=("Location",)),
                201: Answer(v2.Blob, headers=("Location",)),
            },
            stream=True,
        )
    )
    async def upload_blob(self, request: Request, blob: str) -> HTTPResponse:
        """Send a blob. 201 for a new one, 200 for one that was there: its bytes are not read."""
        try:
            known = parse_blob_name(blob)
            size = (await self.client.touch_blobs([known])).get(known)
            status = 200
            if size is None:
                status, size = 201, await self._store(request, known)
            else:
                await drop_body(request)
        except KhalaError:
            await drop_body(request)
            raise
        return HTTPResponse(
            v2.encode(v2.Blob(blob=f"{PREFIX}{known}", size=size)),
            status=status,
            headers={
                **NOSNIFF,
                "Cache-Control": "no-store",
                "Location": f"{BLOBS}/{known}",
            },
            content_type="application/json",
        )

    async def _store(self, request: Request, name: BlobName) -> int:
        limit_bytes = self.config.max_blob_bytes
        if announced_bytes(request, limit_bytes) > limit_bytes:
            raise blob_too_large(limit_bytes)
        upload = UploadId(mint_task_id())
        digest = hashlib.sha256()
        size = 0
        with self.budget.reserve(2 * BLOB_CHUNK_BYTES):
            n = 0
            async for chunk in Cut(request).pieces():
                size += len(chunk)
                if size > limit_bytes:
                    raise blob_too_large(limit_bytes)
                digest.update(chunk)
                await self.client.put_blob_chunk(upload, n, chunk)
                n += 1
            if not n:  # an empty blob has a chunk, too
                await self.client.put_blob_chunk(upload, n, b"")
        if digest.hexdigest() != name:
            raise Rejected(
                f"sha256: the {size} bytes that arrived have the SHA-256 {digest.hexdigest()}, not"
                f" {name}; nothing was kept",
                field="sha256",
            )
        await self.client.add_blob(NewBlob(name=name, size_bytes=size, upload=upload))
        return size


class Cut:
    """A body in pieces that end where chunks do."""

    def __init__(self, request: Request, first_bytes: int = BLOB_CHUNK_BYTES) -> None:
        self._request = request
        self._next_bytes = first_bytes
        self._waiting = bytearray()

    @property
    def waiting(self) -> bytes:
        """What has arrived and was not part of a piece."""
        return bytes(self._waiting)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The first one of `first_bytes`, the others of a chunk; the last one may be smaller."""
        arriving = pieces_of(self._request)
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    piece = await anext(arriving, None)
            except TimeoutError as error:
                raise Rejected(f"body: nothing arrived for {SILENCE_S:.0f} s") from error
            if piece is None:
                break
            self._waiting += piece
            while len(self._waiting) >= self._next_bytes:
                yield self._take(self._next_bytes)
        if self._waiting:
            yield self._take(len(self._waiting))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        self._next_bytes = BLOB_CHUNK_BYTES
        return taken


def blob_too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"body: it is larger than the limit of {limit_bytes} bytes (--max-blob)")
