"""Chunks of bytes that are too large for a document: the common half of outputs, blobs and the
payloads of older versions.

A chunk is written once under a key that says what it is, so repeating a write is harmless: the
key exists, done. Chunks are read one by one, each with its own deadline, because a cursor's
deadline would have to span the reader's pace, and a 40 MB payload may go to a slow executor.

Nothing makes chunks visible but a document that names them, and they are written before it.
What no document will ever name (a submission that failed half way, the output of a lost attempt)
is an orphan; `sweep` walks the collection a page at a time, in the order of keys, for ever, so
that one call costs the same at a thousand tasks and at ten million.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from bson import MaxKey, ObjectId
from msgspec import Struct

from khala.store.client import change
from khala.store.codec import Database, Document
from khala.store.failures import DUPLICATE_KEY, item_failure, reading

#: Chunk keys looked at by one call.
SWEEP_KEYS = 2000


class Owners(Struct, frozen=True, kw_only=True):
    """Where the documents are that chunks belong to, and what of them a sweep looks at."""

    collection: str
    #: Their field that a chunk's key repeats.
    field: str = "_id"
    fields: Document

    async def find(self, database: Database, ids: list[ObjectId]) -> dict[ObjectId, Document]:
        docs = (
            await database[self.collection]
            .find({self.field: {"$in": ids}}, {self.field: 1, **self.fields})
            .to_list()
        )
        return {doc[self.field]: doc for doc in docs}


class Chunks:
    """One collection of chunks, keyed by documents in which `owner` names the one they belong to:
    a task, or the upload of a blob."""

    def __init__(self, database: Database, collection: str, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._name = collection
        self._chunks = database[collection]
        self._swept_to: Document | None = None

    async def put(self, docs: Sequence[Document]) -> bool:
        """Store chunks that are not there yet; False if one was there already."""
        reply = await change(self._database, {"insert": self._name, "documents": list(docs)})
        for error in reply.get("writeErrors", []):
            if error["code"] != DUPLICATE_KEY:
                raise item_failure(error["code"], error["errmsg"])
        return not reply.get("writeErrors")

    async def put_same(self, key: Document, data: bytes) -> bool:
        """Store one chunk, unless there is one of that key; False if that has other data."""
        if await self.put([{"_id": key, "data": data}]):
            return True
        with reading():
            found = await self._chunks.find_one({"_id": key})
        return found is None or bytes(found["data"]) == data

    async def read(self, key: Document, first: int) -> AsyncIterator[bytes]:
        """The data of chunks `first`, `first + 1`, ... until one is not there."""
        n = first
        while True:
            with reading():
                doc = await self._chunks.find_one({"_id": {**key, "n": n}})
            if doc is None:
                return
            yield bytes(doc["data"])
            n += 1

    async def sweep(
        self, owners: Owners, orphan: Callable[[Document, Mapping[ObjectId, Document]], bool]
    ) -> int:
        """Delete the orphans of the next page; return how many chunks.

        `orphan(key, found)` is asked with the chunk's key and the owners of the page's chunks.
        """
        after: Document = {} if self._swept_to is None else {"$gt": self._swept_to}
        with reading():
            docs = (
                await self._chunks.find({"_id": after} if after else {}, {"_id": 1}, hint="_id_")
                .sort("_id", 1)
                .limit(SWEEP_KEYS)
                .to_list()
            )
            keys: list[Document] = [doc["_id"] for doc in docs]
            found = await owners.find(self._database, list({key[self._owner] for key in keys}))
        self._swept_to = keys[-1] if len(keys) == SWEEP_KEYS else None
        return await self.remove([key for key in keys if orphan(key, found)])

    async def remove_of(self, owners: Sequence[ObjectId]) -> None:
        """All chunks of these owners."""
        if not owners:
            return
        deletes: list[Document] = [
            {"q": {"_id": _keys_of(self._owner, each)}, "limit": 0} for each in owners
        ]
        await change(self._database, {"delete": self._name, "deletes": deletes})

    async def remove(self, keys: list[Document]) -> int:
        """How many of them there were."""
        if not keys:
            return 0
        reply = await change(
            self._database,
            {"delete": self._name, "deletes": [{"q": {"_id": {"$in": keys}}, "limit": 0}]},
        )
        return int(reply["n"])


def _keys_of(field: str, owner: ObjectId) -> Document:
    """All keys that begin with this owner: of what follows, types are compared before names."""
    return {"$gte": {field: owner}, "$lt": {field: owner, "": MaxKey()}}
