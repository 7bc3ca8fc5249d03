"""Uploads: `{_id, user, size, sha256?, offset, tail, blob?}`; their chunks are those of blobs.

Chunks have one size, so that any byte of a blob can be found, and what arrives has any. What is
less than a chunk waits as the upload's `tail`, in the document whose offset it belongs to. A chunk
is stored before the offset moves behind it, and the move is a compare-and-set: whatever is
acknowledged is there, and of two that send at once one is told where the other is. They may both
have stored the chunk; if theirs were other bytes, the second one is refused, because nobody could
say any more what the upload holds.

A user's open uploads are counted in a document of their own, `{_id: user, open: [ids]}`: an entry
is made before the upload and drops out when it ends or its date is over, so a bound holds without
an index and without a leader. Dates are those of the ids.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from bson import Binary, Int64, ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from khala.model.blob import BlobName, UploadId
from khala.model.errors import NotFound, OffsetDiffers, QuotaExceeded, Rejected, invariant
from khala.model.limits import BLOB_CHUNK_BYTES
from khala.model.upload import OPEN_UPLOADS, UPLOAD_LIFE, NewUpload, Upload
from khala.store.chunks import Chunks
from khala.store.codec import Database, Document
from khala.store.dates import utc_now
from khala.store.failures import changing, reading
from khala.store.schema import BLOB_CHUNKS, UPLOADERS, UPLOADS

_DELETED_AT_ONCE = 200


class MongoUploads:
    """`UploadStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._uploads = database[UPLOADS]
        self._uploaders = database[UPLOADERS]
        self._chunks = Chunks(database, BLOB_CHUNKS, "u")

    async def open_if_room(self, new: NewUpload) -> Upload:
        """Repeatable. Raise `QuotaExceeded`."""
        await self._take_room(new)
        document: Document = {
            "user": Int64(new.user),
            "size": Int64(new.size_bytes),
            "offset": Int64(0),
            "tail": Binary(b""),
        }
        if new.sha256 is not None:
            document["sha256"] = new.sha256
        with changing():
            found = await self._uploads.find_one_and_update(
                {"_id": ObjectId(new.id)},
                {"$setOnInsert": document},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        invariant(found is not None, "an upsert answers with a document")
        return _upload_of(found or {})

    async def _take_room(self, new: NewUpload) -> None:
        entry = ObjectId(new.id)
        full = {"$or": [{"open": entry}, {f"open.{OPEN_UPLOADS - 1}": {"$exists": False}}]}
        with changing():
            await self._uploaders.update_one(
                {"_id": Int64(new.user)}, {"$pull": {"open": {"$lt": _id_of(_oldest())}}}
            )
            try:
                await self._uploaders.update_one(
                    {"_id": Int64(new.user), **full}, {"$addToSet": {"open": entry}}, upsert=True
                )
            except DuplicateKeyError:
                raise too_many(new.user) from None

    async def get(self, upload: UploadId) -> Upload:
        """Raise `NotFound`."""
        return _upload_of(await self._find(upload, {"tail": 0}))

    async def list_open(self, user: int) -> list[Upload]:
        """Those that may still become a blob, the first of them first; `OPEN_UPLOADS` at the
        most."""
        with reading():
            known = await self._uploaders.find_one({"_id": Int64(user)})
            if known is None:
                return []
            alive = [each for each in known["open"] if each >= _id_of(_oldest())]
            found = await self._uploads.find({"_id": {"$in": alive}}, {"tail": 0}).to_list()
        return sorted(map(_upload_of, found), key=lambda each: each.id)

    async def append_if_at(self, upload: UploadId, offset: int, data: bytes) -> Upload:
        """No more than a chunk. Raise `OffsetDiffers`, `NotFound`, `Rejected` if there are other
        bytes than these."""
        found = await self._find(upload)
        known = _upload_of(found)
        check_append(known, offset, data)
        waiting = bytes(found["tail"]) + data
        n = (offset - len(found["tail"])) // BLOB_CHUNK_BYTES
        end = offset + len(data)
        while len(waiting) >= BLOB_CHUNK_BYTES or (waiting and end == known.size_bytes):
            chunk, waiting = waiting[:BLOB_CHUNK_BYTES], waiting[BLOB_CHUNK_BYTES:]
            key = {"u": ObjectId(upload), "n": n}
            if not await self._chunks.put_same(key, chunk):
                raise other_bytes(upload)
            n += 1
        with changing():
            moved = await self._uploads.find_one_and_update(
                {"_id": ObjectId(upload), "offset": Int64(offset)},
                {"$set": {"offset": Int64(end), "tail": Binary(waiting)}},
                {"tail": 0},
                return_document=ReturnDocument.AFTER,
            )
        if moved is None:
            raise differs(await self.get(upload), offset)
        return _upload_of(moved)

    async def read(self, upload: UploadId) -> AsyncIterator[bytes]:
        """The chunks of one that is whole. Raise `NotFound` before the first."""
        await self._find(upload, {"_id": 1})
        async for data in self._chunks.read({"u": ObjectId(upload)}, 0):
            yield data

    async def close_if_whole(self, upload: UploadId, blob: BlobName) -> None:
        """It is this blob now; repeatable. Raise `NotFound`, `OffsetDiffers`."""
        known = await self.get(upload)
        with changing():
            result = await self._uploads.update_one(
                {"_id": ObjectId(upload), "offset": Int64(known.size_bytes)},
                {"$set": {"blob": blob}},
            )
        if not result.matched_count:
            raise differs(await self.get(upload), known.size_bytes)
        await self._give_room(known)

    async def drop(self, upload: UploadId) -> None:
        """Give it up; of one that has become a blob, the blob stays. Raise `NotFound`."""
        known = await self.get(upload)
        with changing():
            dropped = await self._uploads.find_one_and_delete(
                {"_id": ObjectId(upload)}, {"blob": 1}
            )
        await self._give_room(known)
        if dropped is not None and "blob" not in dropped:
            await self._chunks.remove_of([ObjectId(upload)])

    async def _give_room(self, known: Upload) -> None:
        with changing():
            await self._uploaders.update_one(
                {"_id": Int64(known.user)}, {"$pull": {"open": ObjectId(known.id)}}
            )

    async def collect_orphans(self, older_than: timedelta) -> int:
        """Forget those that expired so long ago; their chunks are collected with those of blobs.
        How many, of a bounded number."""
        before = _id_of(_oldest() - older_than)
        with reading():
            old = (
                await self._uploads.find({"_id": {"$lt": before}}, {"_id": 1})
                .limit(_DELETED_AT_ONCE)
                .to_list()
            )
        if not old:
            return 0
        with changing():
            result = await self._uploads.delete_many({"_id": {"$in": [doc["_id"] for doc in old]}})
        return result.deleted_count

    async def _find(self, upload: UploadId, fields: Document | None = None) -> Document:
        key = ObjectId(upload)
        found = None
        if key >= _id_of(_oldest()):
            with reading():
                found = await self._uploads.find_one({"_id": key}, fields)
        if found is None:
            raise unknown(upload)
        return found


def _oldest() -> datetime:
    """What was begun before has expired."""
    return utc_now() - UPLOAD_LIFE


def _id_of(date: datetime) -> ObjectId:
    return ObjectId.from_datetime(date)


def _upload_of(document: Document) -> Upload:
    return Upload(
        id=UploadId(str(document["_id"])),
        user=int(document["user"]),
        size_bytes=int(document["size"]),
        sha256=document.get("sha256"),
        offset=int(document["offset"]),
        blob=document.get("blob"),
    )


# ---- refusals, which the twin has, too ------------------------------------------------------


def check_append(known: Upload, offset: int, data: bytes) -> None:
    """Raise `OffsetDiffers`, or `Rejected` for more than there is to come."""
    if offset != known.offset:
        raise differs(known, offset)
    if offset + len(data) > known.size_bytes:
        raise Rejected(
            f"body: the upload was begun with a size of {known.size_bytes} bytes, and these are"
            f" {len(data)} behind {offset}",
            field="body",
        )


def differs(known: Upload, offset: int) -> OffsetDiffers:
    return OffsetDiffers(
        f"Upload-Offset: {known.offset} bytes of upload {known.id} are stored, {offset} was given",
        field="Upload-Offset",
    )


def other_bytes(upload: UploadId) -> Rejected:
    return Rejected(
        f"body: other bytes were sent for this place of upload {upload} at the same time; give it"
        " up with DELETE and begin another one"
    )


def too_many(user: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"uploads: user {user} has {OPEN_UPLOADS} open, the most that there may be; finish one, or"
        f" give it up with DELETE /api/v2/uploads/ID; GET /api/v2/uploads?user={user} lists them"
    )


def unknown(upload: UploadId) -> NotFound:
    return NotFound(
        f"there is no upload {upload}: it was given up, or its date is over; begin another one with"
        " POST /api/v2/uploads"
    )
