"""Whole collections as bytes, out of a running database and into an empty one.

No transaction spans the copy: MongoDB keeps snapshots for minutes, and a copy may take hours. The
order makes it whole instead. A document is copied after the ones that name it, and what a document
names was stored before it and stays at least as long as that one is unfinished. So whatever the
copy names it also has; what came in between is more, and nobody's, and is swept like any orphan.

Join tokens are not copied: they were made for the certificates of one cluster. Neither are
sessions: whoever has a token opens another.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import cast
from urllib.parse import quote

import pymongo
from bson.raw_bson import RawBSONDocument
from msgspec import MsgspecError, Struct
from pymongo import AsyncMongoClient
from pymongo.errors import BulkWriteError

from khala.model.blob import BlobName
from khala.model.errors import KhalaError, Rejected
from khala.model.task import Dispatch, Task
from khala.store import schema
from khala.store.blobs import MongoBlobs
from khala.store.client import DATABASE
from khala.store.codec import Collection, Database, Document, task_of
from khala.store.failures import changing, reading

#: Documents of one insert, or their bytes, whichever is reached first.
LOAD_DOCUMENTS = 1000
LOAD_BYTES = 16 * 1024 * 1024
_SIZE_BYTES = 4
#: Of a document without fields.
_SMALLEST_BYTES = 5


class Batch(Struct, frozen=True):
    """Documents of one collection, one behind the other as BSON."""

    collection: str
    documents: int
    data: bytes


def names_to_copy() -> tuple[str, ...]:
    """Collections, those that name others first.

    Jobs before tasks: a job says how many of its members were made. Copied after them it would
    claim members that the copy lacks, and nobody would ever make those.
    """
    first = (schema.JOBS, schema.TASKS)
    others = [name for name in schema.COLLECTIONS if name not in (*first, schema.TOKENS)]
    access = (schema.USERS, schema.ACCESS_TOKENS, schema.AUDIT)
    return (*first, *others, schema.STATISTICS, *access)


async def count(database: Database, name: str, *, exactly: bool) -> int:
    """An estimate costs nothing and is for people; after a crash it may be wrong."""
    with reading(), pymongo.timeout(None):
        if exactly:
            return await database[name].count_documents({})
        return await database[name].estimated_document_count()


async def read_all(database: Database, name: str) -> AsyncGenerator[Batch, None]:
    """Everything in the collection, in batches of at most 16 MiB. Raise `Unavailable`."""
    # The client's deadline would be that of the whole walk.
    with reading(), pymongo.timeout(None):
        # The driver's types say documents; what comes are their bytes.
        batches = cast(AsyncIterator[bytes], database[name].find_raw_batches({}))
        async for data in batches:
            yield Batch(name, _count(data), data)


async def load(database: Database, name: str, documents: Iterable[bytes]) -> int:
    """Insert documents into an empty collection; return how many. Raise `Rejected` for what its
    rules refuse: such a copy is damaged."""
    collection: Collection = database[name]
    loaded, size = 0, 0
    waiting: list[RawBSONDocument] = []
    for document in documents:
        waiting.append(RawBSONDocument(document))
        size += len(document)
        if len(waiting) == LOAD_DOCUMENTS or size >= LOAD_BYTES:
            loaded += await _insert(collection, waiting)
            waiting, size = [], 0
    if waiting:
        loaded += await _insert(collection, waiting)
    return loaded


async def read_every_task(database: Database) -> None:
    """As this version understands them, and the bytes of those that have yet to run. Raise
    `Rejected` naming the first that cannot be read."""
    store = MongoBlobs(database)
    with reading(), pymongo.timeout(None):
        async for doc in database[schema.TASKS].find({}):
            try:
                task = task_of(doc)
                if task.dispatch is not Dispatch.DONE:
                    await _read_parts(store, task)
            except (LookupError, ValueError, TypeError, MsgspecError, KhalaError) as error:
                raise Rejected(
                    f"task {doc['_id']} cannot be read ({error}): the backup is damaged"
                ) from error


async def _read_parts(store: MongoBlobs, task: Task) -> None:
    for ref in task.spec.parts.values():
        if ref.blob:
            size = 0
            async for chunk in store.read(BlobName(ref.sha256)):
                size += len(chunk)
            if size != ref.size_bytes:
                raise Rejected(f"of a part of {ref.size_bytes} bytes there are {size}")


async def schema_version(database: Database) -> int:
    """0: Khala has never been here."""
    with reading():
        known = await database[schema.META].find_one({"_id": "schema"})
    return 0 if known is None else int(known["version"])


def split(data: bytes) -> Iterable[bytes]:
    """One document after the other. Raise `Rejected` for bytes that are none."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + _SIZE_BYTES], "little")
        if not _SMALLEST_BYTES <= size <= len(data) - at or data[at + size - 1] != 0:
            raise Rejected("these are not documents of a database: the backup is damaged")
        yield data[at : at + size]
        at += size


def connect_alone(socket: str) -> tuple[AsyncMongoClient[Document], Database]:
    """A mongod that belongs to no replica set and listens on a socket in the file system."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        f"mongodb://{quote(socket, safe='')}",
        directConnection=True,
        serverSelectionTimeoutMS=30_000,
        tz_aware=True,
    )
    return client, client.get_database(DATABASE)


def _count(data: bytes) -> int:
    documents, at = 0, 0
    while at < len(data):
        at += int.from_bytes(data[at : at + _SIZE_BYTES], "little")
        documents += 1
    return documents


async def _insert(collection: Collection, documents: list[RawBSONDocument]) -> int:
    with changing():
        try:
            await collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            first = (error.details or {}).get("writeErrors", [{}])[0]
            raise Rejected(
                f"{collection.name}: a document is refused ({first.get('errmsg', error)}):"
                " the backup is damaged"
            ) from error
    return len(documents)
