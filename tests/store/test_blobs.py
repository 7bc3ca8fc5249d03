"""Blobs, on MongoDB and on the dictionary: stored once, kept while named, collected otherwise."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from bson import Binary
from msgspec.structs import replace

from khala.model.blob import BLOB_AGE, BlobName, NewBlob, UploadId, name_of
from khala.model.errors import NotFound
from khala.model.ids import mint_task_id
from khala.model.limits import BLOB_CHUNK_BYTES, MIB
from khala.model.spec import Part, PartRef
from khala.model.statements import NewTask
from khala.store.dates import utc_now
from khala.store.memory import MemoryStore
from khala.store.mongo import MongoStore
from khala.store.parts import put_blob
from khala.store.schema import BLOB_CHUNKS, BLOBS
from tests.store.conftest import Store
from tests.store.samples import a_task

JUST_NOW = timedelta(seconds=-2)
DATA = b"some bytes"
NAME = name_of(DATA)


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in chunks])


async def send(store: Store, data: bytes) -> UploadId:
    """Everything but the last step."""
    upload = UploadId(mint_task_id())
    await store.blobs.put_chunk(upload, 0, data)
    return upload


def naming(name: BlobName) -> NewTask:
    task = a_task()
    ref = PartRef(size_bytes=len(DATA), sha256=name, blob=True)
    return replace(task, spec=replace(task.spec, parts={Part.EXECUTE_INPUT: ref}))


async def age(store: Store, name: BlobName, by: timedelta) -> None:
    """As if it had been touched so long ago."""
    if isinstance(store, MemoryStore):
        store.blobs._state.blobs[name].touched_at -= by
        return
    key = {"_id": Binary(bytes.fromhex(name))}
    await store.database[BLOBS].update_one(key, {"$set": {"touched_at": utc_now() - by}})


async def test_forty_megabytes_come_back(store: Store) -> None:
    data = os.urandom(MIB) * 40 + b"tail"
    name = name_of(data)
    await put_blob(store.blobs, name, data)
    digest, sizes = hashlib.sha256(), []
    async for piece in store.blobs.read(name):
        digest.update(piece)
        sizes.append(len(piece))
    assert digest.hexdigest() == name
    assert sizes == [BLOB_CHUNK_BYTES] * 10 + [4]
    assert await store.blobs.touch([name]) == {name: len(data)}


async def test_the_same_bytes_are_stored_once(store: Store) -> None:
    for _ in range(3):
        await put_blob(store.blobs, NAME, DATA)
    assert await joined(store.blobs.read(NAME)) == DATA
    if isinstance(store, MongoStore):
        assert await store.database[BLOB_CHUNKS].count_documents({}) == 1


async def test_two_that_send_one_blob_at_once(store: Store) -> None:
    """Both have it in the end, and the chunks of one of them are gone."""
    uploads = [await send(store, DATA) for _ in range(2)]
    blobs = [NewBlob(name=NAME, size_bytes=len(DATA), upload=upload) for upload in uploads]
    assert sorted(await asyncio.gather(*map(store.blobs.add_if_new, blobs))) == [False, True]
    assert await store.blobs.add_if_new(blobs[0]) in (True, False)
    assert await joined(store.blobs.read(NAME)) == DATA
    if isinstance(store, MongoStore):
        assert await store.database[BLOB_CHUNKS].count_documents({}) == 1


async def test_adding_can_be_repeated(store: Store) -> None:
    blob = NewBlob(name=NAME, size_bytes=len(DATA), upload=await send(store, DATA))
    assert [await store.blobs.add_if_new(blob) for _ in range(3)] == [True] * 3
    assert await joined(store.blobs.read(NAME)) == DATA


async def test_an_empty_blob_is_one(store: Store) -> None:
    await put_blob(store.blobs, name_of(b""), b"")
    assert await joined(store.blobs.read(name_of(b""))) == b""
    assert await store.blobs.touch([name_of(b"")]) == {name_of(b""): 0}


async def test_what_was_never_stored(store: Store) -> None:
    assert await store.blobs.touch([NAME]) == {}
    with pytest.raises(NotFound, match=NAME):
        await joined(store.blobs.read(NAME))
    await send(store, DATA)  # nothing says that it is complete
    assert await store.blobs.touch([NAME]) == {}


async def test_a_blob_that_nothing_names_is_collected(store: Store) -> None:
    await put_blob(store.blobs, NAME, DATA)
    assert await store.blobs.collect(timedelta(hours=1)) == 0
    assert await joined(store.blobs.read(NAME)) == DATA
    assert await store.blobs.collect(JUST_NOW) == 1
    assert await store.blobs.touch([NAME]) == {}
    if isinstance(store, MongoStore):
        assert await store.database[BLOB_CHUNKS].count_documents({}) == 0


async def test_a_blob_that_a_task_names_stays(store: Store) -> None:
    await put_blob(store.blobs, NAME, DATA)
    await store.dispatch.accept(naming(NAME))
    for _ in range(2):
        assert await store.blobs.collect(JUST_NOW) == 0
    assert await joined(store.blobs.read(NAME)) == DATA


async def test_what_is_touched_is_safe_until_it_is_named(store: Store) -> None:
    """The order of an acceptance that meets the collector: the touch, a round, the document."""
    await put_blob(store.blobs, NAME, DATA)
    await age(store, NAME, 2 * BLOB_AGE)
    assert NAME in await store.blobs.touch([NAME])
    assert await store.blobs.collect(BLOB_AGE) == 0
    await store.dispatch.accept(naming(NAME))
    assert await store.blobs.collect(JUST_NOW) == 0
    assert await joined(store.blobs.read(NAME)) == DATA


async def test_a_touch_between_the_collectors_look_and_its_removal(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one moment that matters: nothing named it when the collector looked."""
    await put_blob(mongo.blobs, NAME, DATA)
    await age(mongo, NAME, 2 * BLOB_AGE)
    blobs = mongo.blobs
    remove = blobs._remove_unless_named

    async def accepted_meanwhile(blob: dict[str, object]) -> bool:
        assert NAME in await mongo.blobs.touch([NAME])
        return await remove(blob)

    monkeypatch.setattr(blobs, "_remove_unless_named", accepted_meanwhile)
    assert await blobs.collect(BLOB_AGE) == 0
    await mongo.dispatch.accept(naming(NAME))
    assert await joined(mongo.blobs.read(NAME)) == DATA


async def test_a_blob_that_comes_back_while_it_is_being_removed(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its document is gone, its chunks are not yet: the new ones are others."""
    await put_blob(mongo.blobs, NAME, DATA)
    remove = mongo.blobs._remove_chunks

    async def sent_again_meanwhile(upload: object, size_bytes: int) -> None:
        monkeypatch.undo()
        await put_blob(mongo.blobs, NAME, DATA)
        await remove(upload, size_bytes)  # type: ignore[arg-type]

    monkeypatch.setattr(mongo.blobs, "_remove_chunks", sent_again_meanwhile)
    assert await mongo.blobs.collect(JUST_NOW) == 1
    assert await joined(mongo.blobs.read(NAME)) == DATA


async def test_uploads_that_came_to_nothing_are_collected(store: Store) -> None:
    upload = await send(store, DATA)
    await put_blob(store.blobs, NAME, DATA)
    await store.dispatch.accept(naming(NAME))
    await store.blobs.collect(timedelta(hours=1))
    assert await store.blobs.add_if_new(NewBlob(name=NAME, size_bytes=1, upload=upload)) is False
    await send(store, b"other")
    await store.blobs.collect(JUST_NOW)
    assert await joined(store.blobs.read(NAME)) == DATA
    if isinstance(store, MongoStore):
        assert await store.database[BLOB_CHUNKS].count_documents({}) == 1


async def test_the_collector_asks_indexes(mongo: MongoStore) -> None:
    """Neither what is old nor who names a blob is found by looking through everything."""
    await put_blob(mongo.blobs, NAME, DATA)
    old = {"find": BLOBS, "filter": {"touched_at": {"$lt": utc_now()}}, "sort": {"touched_at": 1}}
    named = {"find": "tasks", "filter": {"blobs": Binary(bytes.fromhex(NAME))}, "hint": "blobs"}
    for command in (old, named):
        plan = await mongo.database.command({"explain": command})
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
        assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
