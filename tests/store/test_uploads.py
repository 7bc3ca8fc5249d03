"""Uploads, on MongoDB and on the dictionary: what is acknowledged is there, whoever goes on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from bson import Int64, ObjectId

from khala.model.blob import BLOB_AGE, NewBlob, UploadId, name_of
from khala.model.errors import NotFound, OffsetDiffers, QuotaExceeded, Rejected
from khala.model.ids import mint_task_id
from khala.model.limits import BLOB_CHUNK_BYTES, MIB
from khala.model.upload import OPEN_UPLOADS, UPLOAD_LIFE, NewUpload
from khala.store.dates import utc_now
from khala.store.mongo import MongoStore
from khala.store.schema import BLOB_CHUNKS, UPLOADERS, UPLOADS
from tests.store.conftest import Store

AT_ONCE = timedelta(seconds=-2)


def new(size: int, user: int = 0, age: timedelta = timedelta(0)) -> NewUpload:
    seconds = int((utc_now() - age).timestamp())
    upload = UploadId(f"{seconds:08x}{mint_task_id()[8:]}")
    return NewUpload(id=upload, user=user, size_bytes=size)


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in chunks])


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [1, 1, 1],
        [BLOB_CHUNK_BYTES],
        [BLOB_CHUNK_BYTES, 1],
        [MIB, 3 * MIB, 5, BLOB_CHUNK_BYTES, 2 * MIB],
        [BLOB_CHUNK_BYTES - 1, BLOB_CHUNK_BYTES, 2],
    ],
)
async def test_bytes_that_arrive_in_any_pieces_become_a_blob(
    store: Store, sizes: list[int]
) -> None:
    data = os.urandom(sum(sizes))
    upload = await store.uploads.open_if_room(new(len(data)))
    at = 0
    for size in sizes:
        upload = await store.uploads.append_if_at(upload.id, at, data[at : at + size])
        at += size
        assert upload.offset == at
        assert await store.uploads.get(upload.id) == upload
    assert await joined(store.uploads.read(upload.id)) == data
    name = name_of(data)
    for _ in range(2):
        await store.uploads.close_if_whole(upload.id, name)
    assert (await store.uploads.get(upload.id)).blob == name
    blob = NewBlob(name=name, size_bytes=len(data), upload=upload.id)
    assert await store.blobs.add_if_new(blob)
    chunks = [piece async for piece in store.blobs.read(name)]
    assert b"".join(chunks) == data
    assert all(len(chunk) == BLOB_CHUNK_BYTES for chunk in chunks[:-1])


async def test_beginning_can_be_repeated(store: Store) -> None:
    given = new(3)
    await store.uploads.open_if_room(given)
    await store.uploads.append_if_at(given.id, 0, b"ab")
    assert (await store.uploads.open_if_room(given)).offset == 2


async def test_another_offset_is_refused_and_changes_nothing(store: Store) -> None:
    upload = await store.uploads.open_if_room(new(6))
    await store.uploads.append_if_at(upload.id, 0, b"abc")
    for offset in (0, 2, 4, 6):
        with pytest.raises(OffsetDiffers, match="3 bytes of upload"):
            await store.uploads.append_if_at(upload.id, offset, b"x")
    with pytest.raises(Rejected, match="a size of 6 bytes"):
        await store.uploads.append_if_at(upload.id, 3, b"defg")
    with pytest.raises(OffsetDiffers):
        await store.uploads.close_if_whole(upload.id, name_of(b""))
    await store.uploads.append_if_at(upload.id, 3, b"def")
    assert await joined(store.uploads.read(upload.id)) == b"abcdef"


async def test_of_two_that_send_at_once_nobody_mixes_the_bytes(mongo: MongoStore) -> None:
    """One has stored its chunk and not moved the offset yet, or died before it could."""
    data = os.urandom(BLOB_CHUNK_BYTES)
    upload = await mongo.uploads.open_if_room(new(len(data)))
    await mongo.blobs.put_chunk(upload.id, 0, data)
    with pytest.raises(Rejected, match="other bytes were sent"):
        await mongo.uploads.append_if_at(upload.id, 0, b"x" * len(data))
    assert (await mongo.uploads.append_if_at(upload.id, 0, data)).offset == len(data)


async def test_one_that_is_given_up_leaves_nothing(store: Store) -> None:
    data = os.urandom(BLOB_CHUNK_BYTES + 1)
    upload = await store.uploads.open_if_room(new(len(data)))
    await store.uploads.append_if_at(upload.id, 0, data[:-1])
    await store.uploads.drop(upload.id)
    for call in (store.uploads.get(upload.id), store.uploads.drop(upload.id)):
        with pytest.raises(NotFound, match=upload.id):
            await call
    with pytest.raises(NotFound):
        await store.uploads.append_if_at(upload.id, len(data) - 1, data[-1:])
    if isinstance(store, MongoStore):
        assert await store.database[BLOB_CHUNKS].count_documents({}) == 0
        assert await store.database[UPLOADS].count_documents({}) == 0


async def test_a_blob_stays_when_its_upload_is_dropped(store: Store) -> None:
    upload = await store.uploads.open_if_room(new(3))
    await store.uploads.append_if_at(upload.id, 0, b"abc")
    await store.uploads.close_if_whole(upload.id, name_of(b"abc"))
    await store.blobs.add_if_new(NewBlob(name=name_of(b"abc"), size_bytes=3, upload=upload.id))
    await store.uploads.drop(upload.id)
    assert await joined(store.blobs.read(name_of(b"abc"))) == b"abc"


async def test_a_user_has_so_many_open_and_no_more(store: Store) -> None:
    uploads = [await store.uploads.open_if_room(new(1, user=7)) for _ in range(OPEN_UPLOADS)]
    with pytest.raises(QuotaExceeded, match=f"user 7 has {OPEN_UPLOADS} open"):
        await store.uploads.open_if_room(new(1, user=7))
    await store.uploads.open_if_room(uploads[0])  # once more
    await store.uploads.open_if_room(new(1, user=8))
    await store.uploads.drop(uploads[0].id)
    await store.uploads.append_if_at(uploads[1].id, 0, b"a")
    await store.uploads.close_if_whole(uploads[1].id, name_of(b"a"))
    for _ in range(2):
        await store.uploads.open_if_room(new(1, user=7))
    with pytest.raises(QuotaExceeded):
        await store.uploads.open_if_room(new(1, user=7))


async def test_one_whose_date_is_over_is_gone(store: Store) -> None:
    old = new(2, user=9, age=UPLOAD_LIFE + timedelta(minutes=1))
    await store.uploads.open_if_room(old)
    for call in (store.uploads.get(old.id), store.uploads.append_if_at(old.id, 0, b"a")):
        with pytest.raises(NotFound, match="its date is over"):
            await call
    assert await store.uploads.collect_orphans(timedelta(minutes=5)) == 0
    assert await store.uploads.collect_orphans(AT_ONCE) == 1
    if isinstance(store, MongoStore):
        assert await store.database[UPLOADS].count_documents({}) == 0


async def test_those_that_are_no_blob_are_listed(store: Store) -> None:
    first, second, whole = new(1, 7, timedelta(minutes=1)), new(1, 7), new(1, 7)
    for each in (first, second, whole, new(1, 8), new(1, 7, UPLOAD_LIFE + timedelta(hours=1))):
        await store.uploads.open_if_room(each)
    await store.uploads.append_if_at(second.id, 0, b"x")
    await store.uploads.append_if_at(whole.id, 0, b"x")
    await store.uploads.close_if_whole(whole.id, name_of(b"x"))
    listed = await store.uploads.list_open(7)
    assert [(each.id, each.offset) for each in listed] == [(first.id, 0), (second.id, 1)]
    await store.uploads.drop(first.id)
    assert [each.id for each in await store.uploads.list_open(7)] == [second.id]
    assert await store.uploads.list_open(9) == []


async def test_those_whose_date_is_over_take_no_room(store: Store) -> None:
    for _ in range(OPEN_UPLOADS):
        await store.uploads.open_if_room(new(1, user=9, age=UPLOAD_LIFE + timedelta(minutes=1)))
    await store.uploads.open_if_room(new(1, user=9))
    if isinstance(store, MongoStore):
        [found] = await store.database[UPLOADERS].find({"_id": Int64(9)}).to_list()
        assert len(found["open"]) == 1 and isinstance(found["open"][0], ObjectId)


async def test_an_open_one_outlives_the_sweep_of_orphans(store: Store) -> None:
    data = os.urandom(BLOB_CHUNK_BYTES + 1)
    upload = await store.uploads.open_if_room(
        new(len(data), age=UPLOAD_LIFE - timedelta(minutes=1))
    )
    await store.uploads.append_if_at(upload.id, 0, data[:-1])
    await store.blobs.collect(BLOB_AGE)
    await store.uploads.append_if_at(upload.id, len(data) - 1, data[-1:])
    assert await joined(store.uploads.read(upload.id)) == data
