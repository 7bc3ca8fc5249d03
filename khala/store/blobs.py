"""Blobs: `{_id: hash, size, upload, touched_at}`, and chunks `{_id: {u: upload, n: chunk}, data}`.

The document is what makes a blob be there; its chunks are stored before it. They are keyed by the
upload and not by the hash: a blob may be removed while somebody sends it again, and chunks of one
key would be those that are being deleted.

A blob that nothing refers to goes `BLOB_AGE` after it was last touched, and whoever is about to
refer to one touches it first. The removal is a compare-and-set on that date: either the touch comes
first, and the blob stays as long again, which is far longer than the document that refers to it can
take; or the removal does, the touch finds nothing, and the bytes are sent once more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta

from bson import Binary, Int64, ObjectId
from pymongo import ReturnDocument

from khala.model.blob import BLOB_AGE, BlobName, NewBlob, UploadId
from khala.model.errors import NotFound, invariant
from khala.model.limits import BLOB_CHUNK_BYTES
from khala.store.chunks import Chunks, Owners
from khala.store.codec import Database, Document
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, reading
from khala.store.schema import BLOB_CHUNKS, BLOBS, JOBS, TASKS

#: A touch that is younger than this is not repeated: an array's members cost no write each.
_TOUCH_AGAIN = BLOB_AGE / 4
#: Blobs looked at by one round of the collector.
COLLECT_BLOBS = 200
_UPLOADS = Owners(collection=BLOBS, field="upload", fields={"_id": 0})


class MongoBlobs:
    """`BlobStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._blobs = database[BLOBS]
        #: Jobs first: a member that is made now has a job that was there before.
        self._naming = (database[TASKS], database[JOBS])
        self._chunks = Chunks(database, BLOB_CHUNKS, "u")

    async def put_chunk(self, upload: UploadId, n: int, data: bytes) -> None:
        """Repeatable with the same bytes."""
        await self._chunks.put([{"_id": {"u": ObjectId(upload), "n": n}, "data": data}])

    async def add_if_new(self, blob: NewBlob) -> bool:
        """Make it be there, with the chunks of its upload. False: it was there already, and these
        chunks are nobody's."""
        now = to_ms(utc_now())
        with changing():
            found = await self._blobs.find_one_and_update(
                {"_id": _id(blob.name)},
                {
                    "$setOnInsert": {
                        "size": Int64(blob.size_bytes),
                        "upload": ObjectId(blob.upload),
                    },
                    "$max": {"touched_at": now},
                },
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        invariant(found is not None, "an upsert answers with a document")
        if found is not None and str(found["upload"]) == blob.upload:
            return True
        await self._remove_chunks(ObjectId(blob.upload), blob.size_bytes)
        return False

    async def touch(self, names: Sequence[BlobName]) -> dict[BlobName, int]:
        """Keep those that are there for `BLOB_AGE`; their sizes."""
        now = to_ms(utc_now())
        ids = [_id(name) for name in names]
        with changing():
            await self._blobs.update_many(
                {"_id": {"$in": ids}, "touched_at": {"$lt": now - _TOUCH_AGAIN}},
                {"$max": {"touched_at": now}},
            )
        with reading():
            docs = await self._blobs.find({"_id": {"$in": ids}}, {"size": 1}).to_list()
        return {BlobName(bytes(doc["_id"]).hex()): int(doc["size"]) for doc in docs}

    async def read(self, name: BlobName, first: int = 0) -> AsyncIterator[bytes]:
        """The bytes in chunks, from number `first` on; raise `NotFound` before the first."""
        with reading():
            found = await self._blobs.find_one({"_id": _id(name)})
        if found is None:
            raise NotFound(f"blob {name} does not exist")
        async for data in self._chunks.read({"u": found["upload"]}, first):
            yield data

    async def collect(self, older_than: timedelta) -> int:
        """Remove blobs that nothing refers to, untouched for so long; and chunks of uploads that
        came to nothing. How many blobs."""
        before = to_ms(utc_now() - older_than)
        with reading():
            old = (
                await self._blobs.find({"touched_at": {"$lt": before}})
                .sort("touched_at", 1)
                .limit(COLLECT_BLOBS)
                .to_list()
            )
        removed = 0
        for blob in old:
            removed += await self._remove_unless_named(blob)

        def orphan(key: Document, uploads: Mapping[ObjectId, Document]) -> bool:
            return key["u"] not in uploads and bool(key["u"].generation_time < before)

        await self._chunks.sweep(_UPLOADS, orphan)
        return removed

    async def _remove_unless_named(self, blob: Document) -> bool:
        unchanged = {"_id": blob["_id"], "touched_at": blob["touched_at"]}
        with reading():
            named = None
            for documents in self._naming:
                condition = {"blobs": blob["_id"]}
                named = named or await documents.find_one(condition, {"_id": 1}, hint="blobs")
        with changing():
            if named is not None:
                # Looked at again after as long a time, not in every round.
                await self._blobs.update_one(unchanged, {"$set": {"touched_at": to_ms(utc_now())}})
                return False
            result = await self._blobs.delete_one(unchanged)
        if not result.deleted_count:
            return False  # touched since
        await self._remove_chunks(blob["upload"], int(blob["size"]))
        return True

    async def _remove_chunks(self, upload: ObjectId, size_bytes: int) -> None:
        """Those of one upload; what a failure leaves is found by the sweep."""
        count = max(1, -(-size_bytes // BLOB_CHUNK_BYTES))
        await self._chunks.remove([{"u": upload, "n": n} for n in range(count)])


def _id(name: BlobName) -> Binary:
    return Binary(bytes.fromhex(name))
