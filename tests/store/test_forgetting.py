"""Forgetting tasks that have ended: all of one goes, and nothing of any other."""

from __future__ import annotations

from datetime import timedelta

import pytest

from khala.model.errors import NotFound
from khala.model.ids import AttemptNo, TaskId, mint_task_id
from khala.model.outcome import Bundle, Stream
from khala.model.statements import ChunkItem, FinishResult
from khala.store.mongo import MongoStore
from tests.store.conftest import Store
from tests.store.samples import a_lease, a_task, finish_item


async def ended(store: Store, key: str | None = None) -> TaskId:
    task = a_task(lease=a_lease(), key=key)
    await store.dispatch.accept(task)
    for stream in (Stream.EXECUTE_OUTPUT, Bundle.ARTIFACTS):
        chunks = [
            ChunkItem(id=task.id, attempt=AttemptNo(1), stream=stream, n=n, data=b"x")
            for n in range(3)
        ]
        await store.outputs.put_chunks(chunks)
    await store.dispatch.finish_if_attempt(finish_item(task.id))
    return task.id


async def left(store: Store, task: TaskId) -> int:
    found = 0
    for stream in (Stream.EXECUTE_OUTPUT, Bundle.ARTIFACTS):
        async for _ in store.outputs.read_stream(task, AttemptNo(1), stream):
            found += 1
    return found


async def test_all_of_a_task_goes_and_nothing_else(store: Store) -> None:
    before, task, after = [await ended(store) for _ in range(3)]
    assert await store.forgetting.forget_if_done([task]) == []
    with pytest.raises(NotFound):
        await store.tasks.get(task)
    assert await left(store, task) == 0
    for other in (before, after):
        assert (await store.tasks.get(other)).done_at is not None
        assert await left(store, other) == 6


async def test_what_has_not_ended_stays(store: Store) -> None:
    waiting, running = a_task(), a_task(lease=a_lease())
    for task in (waiting, running):
        await store.dispatch.accept(task)
    gone = await ended(store)
    ids = [waiting.id, gone, running.id]
    assert set(await store.forgetting.forget_if_done(ids)) == {waiting.id, running.id}
    assert (await store.tasks.get(waiting.id)).id == waiting.id


async def test_forgetting_can_be_repeated(store: Store) -> None:
    task = await ended(store)
    for _ in range(2):
        assert await store.forgetting.forget_if_done([task]) == []
    assert await store.forgetting.forget_if_done([mint_task_id()]) == []


async def test_a_late_result_of_a_forgotten_task_is_stale(store: Store) -> None:
    task = await ended(store)
    await store.forgetting.forget_if_done([task])
    assert await store.dispatch.finish_if_attempt(finish_item(task)) is FinishResult.STALE
    with pytest.raises(NotFound):
        await store.tasks.get(task)


async def test_a_key_is_free_again(store: Store) -> None:
    task = await ended(store, key="k")
    await store.forgetting.forget_if_done([task])
    again = a_task(key="k", fingerprint=b"g" * 32)
    assert (await store.dispatch.accept(again)).replay is False


async def test_a_crash_in_the_middle_leaves_what_the_sweep_finds(mongo: MongoStore) -> None:
    task = await ended(mongo)
    await mongo.database["tasks"].delete_one({})  # the first half, and no more
    assert await left(mongo, task) == 6
    assert await mongo.outputs.collect_orphans(timedelta(seconds=-5)) == 6
    assert await left(mongo, task) == 0
