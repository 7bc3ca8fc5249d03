"""The judicators' blobs, as methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from khala.model.blob import BlobName, BlobSizes, NewBlob, UploadId
from khala.net.calls import WRITE_S, WRITE_TOTAL_S, Call, Calls, parse
from khala.protocol.rpc import TouchBlobs

_encode = msgspec.msgpack.Encoder().encode
_decode_sizes = msgspec.msgpack.Decoder(BlobSizes)


class BlobClient(Calls):
    """All of it may be repeated: what is named by its content stays the same."""

    async def put_blob_chunk(self, upload: UploadId, n: int, data: bytes) -> None:
        """Store one chunk of what becomes a blob; the same chunk twice is stored once."""
        path = f"/rpc/v1/uploads/{upload}/{n}"
        await self._call(
            Call(method="PUT", path=path, body=data, try_s=WRITE_S, total_s=WRITE_TOTAL_S)
        )

    async def add_blob(self, blob: NewBlob) -> None:
        """The chunks of its upload are a blob now, unless there was one of this name."""
        call = Call(
            method="POST",
            path="/rpc/v1/blobs",
            body=_encode(blob),
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        await self._call(call)

    async def touch_blobs(self, names: Iterable[BlobName]) -> dict[BlobName, int]:
        """Keep those that are there for a day; their sizes."""
        body = _encode(TouchBlobs(names=tuple(names)))
        call = Call(method="POST", path="/rpc/v1/blobs/touch", body=body, reads=True)
        return parse(_decode_sizes, await self._call(call)).sizes

    @asynccontextmanager
    async def open_blob(self, name: BlobName) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a blob. Whoever reads them checks their hash."""
        async with self._open(f"/rpc/v1/blobs/{name}") as pieces:
            yield pieces
