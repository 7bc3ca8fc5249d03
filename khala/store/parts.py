"""Where the bytes of a payload go: into the task document, or apart.

Small payloads travel with the document because that saves a write and a read per task; large
ones must not, because MongoDB rewrites a document whenever the task's status changes. They become
blobs: ten thousand tasks with the same sources store them once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from khala.model.blob import BlobName, NewBlob, UploadId, name_of
from khala.model.ids import mint_task_id
from khala.model.limits import BLOB_CHUNK_BYTES, INLINE_BYTES
from khala.model.spec import Part, PartRef
from khala.store.protocols import BlobStore


class PartPlan(Struct, frozen=True, kw_only=True):
    """`refs` go into the task's spec, `apart` through `put_blob` before the task."""

    refs: dict[Part, PartRef]
    apart: dict[BlobName, bytes]


def plan_parts(parts: Mapping[Part, bytes]) -> PartPlan:
    """Keep the smallest parts inline while their sum is below `INLINE_BYTES`."""
    refs: dict[Part, PartRef] = {}
    apart: dict[BlobName, bytes] = {}
    inline_bytes = 0
    for part, data in sorted(parts.items(), key=lambda entry: len(entry[1])):
        inline = inline_bytes + len(data) < INLINE_BYTES
        inline_bytes += len(data)
        name = name_of(data)
        refs[part] = PartRef(
            size_bytes=len(data), sha256=name, inline=data if inline else None, blob=not inline
        )
        if not inline:
            apart[name] = data
    return PartPlan(refs=refs, apart=apart)


async def put_blob(store: BlobStore, name: BlobName, data: bytes) -> None:
    """Store what is not there yet; from now on it stays for `BLOB_AGE`."""
    if name in await store.touch([name]):
        return
    upload = UploadId(mint_task_id())
    for n, chunk in enumerate(cut(data, BLOB_CHUNK_BYTES)):
        await store.put_chunk(upload, n, chunk)
    await store.add_if_new(NewBlob(name=name, size_bytes=len(data), upload=upload))


def cut(data: bytes, size_bytes: int) -> Iterator[bytes]:
    """`data` in pieces of `size_bytes`; one empty piece for no data, so that it exists."""
    for start in range(0, max(len(data), 1), size_bytes):
        yield data[start : start + size_bytes]
