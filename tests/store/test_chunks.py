"""Outputs in chunks, on MongoDB and on the dictionary; and what older versions stored in chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from bson import ObjectId
from msgspec.structs import replace

from khala.model.errors import NotFound
from khala.model.ids import AttemptNo, TaskId, mint_task_id
from khala.model.limits import MIB
from khala.model.outcome import ArtifactRef, Artifacts, Bundle, LeftOut, Omission, Stream
from khala.model.spec import Part
from khala.model.statements import ChunkItem, RequeueItem
from khala.store import chunks
from khala.store.mongo import MongoStore
from khala.store.schema import PAYLOADS
from tests.store.conftest import Store
from tests.store.samples import SUCCESS, a_lease, a_task, finish_item, lease_item

OUT, ERR = Stream.EXECUTE_OUTPUT, Stream.EXECUTE_ERROR
JUST_NOW = timedelta(seconds=-2)


def chunk(task: TaskId, n: int, data: bytes, attempt: int = 1, stream: Stream = OUT) -> ChunkItem:
    return ChunkItem(id=task, attempt=AttemptNo(attempt), stream=stream, n=n, data=data)


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in chunks])


async def output(store: Store, task: TaskId, attempt: int = 1, first: int = 0) -> bytes:
    return await joined(store.outputs.read_stream(task, AttemptNo(attempt), OUT, first))


async def test_a_part_of_an_older_version_is_read(mongo: MongoStore) -> None:
    task = mint_task_id()
    key = {"t": ObjectId(task), "p": "execute_input"}
    await mongo.database[PAYLOADS].insert_many(
        [{"_id": {**key, "n": n}, "data": data} for n, data in enumerate((b"ab", b"c"))]
    )
    assert await joined(mongo.payloads.read_part(task, Part.EXECUTE_INPUT)) == b"abc"
    with pytest.raises(NotFound, match="execute_data"):
        await joined(mongo.payloads.read_part(task, Part.EXECUTE_DATA))
    assert await mongo.payloads.collect_orphans(timedelta(hours=1)) == 0
    assert await mongo.payloads.collect_orphans(JUST_NOW) == 2


async def test_a_chunk_is_written_once(store: Store) -> None:
    task = mint_task_id()
    await store.outputs.put_chunks([chunk(task, 0, b"a"), chunk(task, 1, b"b")])
    await store.outputs.put_chunks([chunk(task, n, data) for n, data in enumerate((b"X", b"Y"))])
    await store.outputs.put_chunks([chunk(task, 1, b"Z"), chunk(task, 2, b"c")])
    assert await output(store, task) == b"abc"


async def test_outputs_do_not_mix(store: Store) -> None:
    task = mint_task_id()
    await store.outputs.put_chunks(
        [
            chunk(task, 0, b"first"),
            chunk(task, 0, b"second", attempt=2),
            chunk(task, 0, b"error", stream=ERR),
            chunk(mint_task_id(), 0, b"other"),
        ]
    )
    assert await output(store, task) == b"first"
    assert await output(store, task, 2) == b"second"
    assert await joined(store.outputs.read_stream(task, AttemptNo(1), ERR)) == b"error"
    assert await output(store, task, 3) == b""


async def test_artifacts_are_chunks_like_outputs(store: Store) -> None:
    """Fenced by attempt, kept with the last one, and collected with those that were given up."""
    lease = a_lease()
    task = a_task(lease=lease)
    await store.dispatch.accept(task)
    for attempt, data in ((1, b"lost"), (2, b"kept")):
        item = ChunkItem(
            id=task.id, attempt=AttemptNo(attempt), stream=Bundle.ARTIFACTS, n=0, data=data
        )
        await store.outputs.put_chunks([item])
    await store.outputs.put_chunks([chunk(task.id, 0, b"output", attempt=2)])
    requeue = RequeueItem(
        id=task.id,
        attempt=AttemptNo(1),
        executor=lease.executor,
        session=lease.session,
        crash=False,
    )
    await store.dispatch.requeue_if_leased_by(requeue)
    await store.dispatch.lease_if_queued(lease_item(task.id, 1))
    file = ArtifactRef(
        name=b"\xff/\n", size_bytes=4, sha256=b"s" * 32, crc32=2**32 - 1, modified_s=1
    )
    left_out = {Omission.TOO_MANY: LeftOut(count=2**40, names=(b"x", b"\xfe"))}
    artifacts = Artifacts(chunk_bytes=MIB, files=(file,), left_out=left_out)
    outcome = replace(SUCCESS, artifacts=artifacts)
    await store.dispatch.finish_if_attempt(finish_item(task.id, 2, outcome))
    found = await store.dispatch.get(task.id)
    assert found.outcome is not None and found.outcome.artifacts == artifacts
    assert await store.outputs.collect_orphans(JUST_NOW) == 1

    async def stored(attempt: int) -> bytes:
        number = AttemptNo(attempt)
        return await joined(store.outputs.read_stream(task.id, number, Bundle.ARTIFACTS))

    assert (await stored(1), await stored(2)) == (b"", b"kept")
    assert await output(store, task.id, 2) == b"output"


async def test_a_reader_follows_up_to_the_first_gap(store: Store) -> None:
    task = mint_task_id()
    await store.outputs.put_chunks([chunk(task, n, b"%d" % n) for n in (0, 1, 3)])
    assert await output(store, task) == b"01"
    assert await output(store, task, first=1) == b"1"
    await store.outputs.put_chunks([chunk(task, 2, b"2")])
    assert await output(store, task, first=2) == b"23"


async def test_outputs_of_given_up_attempts_are_collected(store: Store) -> None:
    lease = a_lease()
    task = a_task(lease=lease)
    await store.dispatch.accept(task)
    await store.outputs.put_chunks([chunk(task.id, 0, b"1"), chunk(task.id, 0, b"2", attempt=2)])
    await store.dispatch.requeue_if_leased_by(
        RequeueItem(
            id=task.id,
            attempt=AttemptNo(1),
            executor=lease.executor,
            session=lease.session,
            crash=False,
        )
    )
    await store.dispatch.lease_if_queued(lease_item(task.id, 1))
    assert await store.outputs.collect_orphans(JUST_NOW) == 0
    await store.dispatch.finish_if_attempt(finish_item(task.id, 2))
    assert await store.outputs.collect_orphans(timedelta(hours=1)) == 0
    assert await store.outputs.collect_orphans(JUST_NOW) == 1
    assert await output(store, task.id, 1) == b""
    assert await output(store, task.id, 2) == b"2"


async def test_a_cancelled_task_keeps_its_last_output(store: Store) -> None:
    task = a_task(lease=a_lease())
    await store.dispatch.accept(task)
    await store.outputs.put_chunks([chunk(task.id, 0, b"so far")])
    await store.dispatch.cancel_if_open(task.id)
    assert await store.outputs.collect_orphans(JUST_NOW) == 0
    assert await output(store, task.id) == b"so far"


async def test_the_sweep_goes_page_by_page(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "SWEEP_KEYS", 4)
    for _ in range(10):
        await mongo.outputs.put_chunks([chunk(mint_task_id(), 0, b"x")])
    found = [await mongo.outputs.collect_orphans(JUST_NOW) for _ in range(4)]
    assert found == [4, 4, 2, 0]
