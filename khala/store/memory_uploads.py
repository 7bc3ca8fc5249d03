"""The uploads of the memory store; the twin of `khala.store.uploads`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from msgspec.structs import asdict, replace

from khala.model.blob import BlobName, UploadId
from khala.model.limits import BLOB_CHUNK_BYTES
from khala.model.upload import OPEN_UPLOADS, NewUpload, Upload
from khala.store.memory_state import MemoryState
from khala.store.uploads import check_append, differs, other_bytes, too_many, unknown


class MemoryUploads:
    """`UploadStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state
        self._known: dict[UploadId, Upload] = {}
        self._tails: dict[UploadId, bytes] = {}

    async def open_if_room(self, new: NewUpload) -> Upload:
        if new.id not in self._known:
            if len(await self.list_open(new.user)) >= OPEN_UPLOADS:
                raise too_many(new.user)
            self._known[new.id] = Upload(**asdict(new))
            self._tails[new.id] = b""
        return self._known[new.id]

    async def get(self, upload: UploadId) -> Upload:
        known = self._known.get(upload)
        if known is None or known.expires_at < self._state.now():
            raise unknown(upload)
        return known

    async def list_open(self, user: int) -> list[Upload]:
        now = self._state.now()
        found = [
            each
            for each in self._known.values()
            if each.user == user and each.blob is None and each.expires_at >= now
        ]
        return sorted(found, key=lambda each: each.id)

    async def append_if_at(self, upload: UploadId, offset: int, data: bytes) -> Upload:
        known = await self.get(upload)
        check_append(known, offset, data)
        waiting = self._tails[upload] + data
        n = (offset - len(self._tails[upload])) // BLOB_CHUNK_BYTES
        end = offset + len(data)
        chunks = self._state.uploads.setdefault(upload, {})
        while len(waiting) >= BLOB_CHUNK_BYTES or (waiting and end == known.size_bytes):
            chunk, waiting = waiting[:BLOB_CHUNK_BYTES], waiting[BLOB_CHUNK_BYTES:]
            if chunks.setdefault(n, chunk) != chunk:
                raise other_bytes(upload)
            n += 1
        self._tails[upload] = waiting
        self._known[upload] = replace(known, offset=end)
        return self._known[upload]

    async def read(self, upload: UploadId) -> AsyncIterator[bytes]:
        await self.get(upload)
        chunks = self._state.uploads.get(upload, {})
        for n in range(len(chunks)):
            yield chunks[n]

    async def close_if_whole(self, upload: UploadId, blob: BlobName) -> None:
        known = await self.get(upload)
        if known.offset != known.size_bytes:
            raise differs(known, known.size_bytes)
        self._known[upload] = replace(known, blob=blob)

    async def drop(self, upload: UploadId) -> None:
        known = await self.get(upload)
        del self._known[upload], self._tails[upload]
        if known.blob is None:
            self._state.uploads.pop(upload, None)

    async def collect_orphans(self, older_than: timedelta) -> int:
        before = self._state.now() - older_than
        over = [each.id for each in self._known.values() if each.expires_at < before]
        for upload in over:
            del self._known[upload], self._tails[upload]
        return len(over)
