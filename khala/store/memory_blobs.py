"""The blobs of the memory store; the twin of `khala.store.blobs`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from khala.model.blob import BlobName, NewBlob, UploadId
from khala.model.errors import NotFound
from khala.model.ids import id_date
from khala.store.memory_state import MemoryBlob, MemoryState


class MemoryBlobs:
    """`BlobStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def put_chunk(self, upload: UploadId, n: int, data: bytes) -> None:
        self._state.uploads.setdefault(upload, {}).setdefault(n, data)

    async def add_if_new(self, blob: NewBlob) -> bool:
        found = self._state.blobs.get(blob.name)
        if found is None:
            found = MemoryBlob(blob.upload, blob.size_bytes, self._state.now())
            self._state.blobs[blob.name] = found
        found.touched_at = self._state.now()
        if found.upload == blob.upload:
            return True
        self._state.uploads.pop(blob.upload, None)
        return False

    async def touch(self, names: Sequence[BlobName]) -> dict[BlobName, int]:
        there = {name: self._state.blobs[name] for name in names if name in self._state.blobs}
        for blob in there.values():
            blob.touched_at = self._state.now()
        return {name: blob.size_bytes for name, blob in there.items()}

    async def read(self, name: BlobName, first: int = 0) -> AsyncIterator[bytes]:
        found = self._state.blobs.get(name)
        if found is None:
            raise NotFound(f"blob {name} does not exist")
        chunks = self._state.uploads.get(found.upload, {})
        while first in chunks:
            yield chunks[first]
            first += 1

    async def collect(self, older_than: timedelta) -> int:
        before = self._state.now() - older_than
        named = {name for row in self._state.tasks.values() for name in row.task.spec.blobs}
        for job in self._state.jobs.values():
            named.update(job.spec.task.blobs if job.spec.task else ())
            named.update(self._state.job_blobs[job.id])
            named.update([job.spec.blob] if job.spec.blob else ())
        removed = [
            name
            for name, blob in self._state.blobs.items()
            if blob.touched_at < before and name not in named
        ]
        for name in removed:
            self._state.uploads.pop(self._state.blobs.pop(name).upload, None)
        kept = {blob.upload for blob in self._state.blobs.values()}
        for upload in [u for u in self._state.uploads if u not in kept and id_date(u) < before]:
            del self._state.uploads[upload]
        return len(removed)
