"""The judicators' blobs, as methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from khala.model.blob import BlobName, BlobSizes, NewBlob, UploadId
from khala.model.upload import NewUpload, Upload
from khala.net.calls import WRITE_S, WRITE_TOTAL_S, Call, Calls, parse
from khala.protocol.rpc import CloseUpload, OpenUploads, TouchBlobs

_encode = msgspec.msgpack.Encoder().encode
_decode_sizes = msgspec.msgpack.Decoder(BlobSizes)
_decode_upload = msgspec.msgpack.Decoder(Upload)
_decode_uploads = msgspec.msgpack.Decoder(OpenUploads)


def _writing(method: str, path: str, body: bytes) -> Call:
    return Call(method=method, path=path, body=body, try_s=WRITE_S, total_s=WRITE_TOTAL_S)


class BlobClient(Calls):
    """All of it may be repeated: what is named by its content stays the same, and bytes that are
    there already are refused."""

    async def put_blob_chunk(self, upload: UploadId, n: int, data: bytes) -> None:
        """Store one chunk of what becomes a blob; the same chunk twice is stored once."""
        path = f"/rpc/v1/uploads/{upload}/{n}"
        await self._call(_writing("PUT", path, data))

    async def open_upload(self, new: NewUpload) -> Upload:
        """Begin to send a blob bit by bit. Raise `QuotaExceeded`."""
        call = _writing("POST", "/rpc/v1/uploads", _encode(new))
        return parse(_decode_upload, await self._call(call))

    async def get_upload(self, upload: UploadId) -> Upload:
        """Raise `NotFound`."""
        call = Call(method="GET", path=f"/rpc/v1/uploads/{upload}")
        return parse(_decode_upload, await self._call(call))

    async def list_uploads(self, user: int) -> list[Upload]:
        """Those of a user that may still become a blob."""
        call = Call(method="GET", path=f"/rpc/v1/uploaders/{user}")
        return parse(_decode_uploads, await self._call(call)).uploads

    async def append_to_upload(self, upload: UploadId, offset: int, data: bytes) -> Upload:
        """Store what follows `offset`, a chunk at the most. Raise `OffsetDiffers`, also where an
        answer was lost and it has been done."""
        call = _writing("PATCH", f"/rpc/v1/uploads/{upload}/from/{offset}", data)
        return parse(_decode_upload, await self._call(call))

    @asynccontextmanager
    async def read_upload(self, upload: UploadId) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of one that is whole."""
        async with self._open(f"/rpc/v1/uploads/{upload}/bytes") as pieces:
            yield pieces

    async def close_upload(self, upload: UploadId, blob: BlobName) -> None:
        """It is this blob; `add_blob` comes after it."""
        body = _encode(CloseUpload(blob=blob))
        await self._call(_writing("POST", f"/rpc/v1/uploads/{upload}/blob", body))

    async def drop_upload(self, upload: UploadId) -> None:
        """Give it up. Raise `NotFound`, also where an answer was lost and it has been done."""
        await self._call(_writing("DELETE", f"/rpc/v1/uploads/{upload}", b""))

    async def add_blob(self, blob: NewBlob) -> None:
        """The chunks of its upload are a blob now, unless there was one of this name."""
        await self._call(_writing("POST", "/rpc/v1/blobs", _encode(blob)))

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
