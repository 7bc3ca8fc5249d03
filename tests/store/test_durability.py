"""What an acknowledgement is worth when mongod is killed in the middle."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from khala.model.errors import NotFound, OutcomeUnknown, Unavailable
from khala.model.ids import TaskId
from khala.model.statements import FinishResult
from khala.model.task import TaskState
from khala.store import client, committer
from khala.store.schema import ensure_schema
from tests.store.conftest import opened
from tests.store.mongod import Mongod
from tests.store.samples import a_lease, a_task, finish_item

#: A driver that is closed while it reconnects leaves the socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


async def test_kill_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    mongod = Mongod(tmp_path)
    mongod.start()
    try:
        await mongod.ready()
        async with opened(mongod.settings) as store:
            await ensure_schema(store.database)
            accepted: set[TaskId] = set()
            recorded: set[TaskId] = set()
            refused: set[TaskId] = set()
            unknown: set[TaskId] = set()
            killed = asyncio.Event()

            async def submit_and_finish() -> None:
                after = 5
                while after:
                    after -= killed.is_set()
                    task = a_task(key=f"key-{a_task().id}", lease=a_lease())
                    try:
                        await store.committer.accept(task)
                        accepted.add(task.id)
                        result = await store.committer.finish(finish_item(task.id))
                        assert result is FinishResult.RECORDED
                        recorded.add(task.id)
                    except Unavailable:
                        refused.add(task.id)
                    except OutcomeUnknown:
                        unknown.add(task.id)

            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                for _ in range(16):
                    group.create_task(submit_and_finish())
                while len(recorded) < 300:
                    await asyncio.sleep(0.01)
                mongod.kill()
                killed.set()
                mongod.start()
                await mongod.ready()

            assert len(accepted) > 316
            for task_id in accepted:
                state = (await store.tasks.get(task_id)).state
                if task_id in recorded:
                    assert state is TaskState.SUCCEEDED
            for task_id in refused - accepted:
                try:
                    await store.tasks.get(task_id)
                except NotFound:
                    continue
                raise AssertionError(f"{task_id} was refused and is there all the same")
            total = await store.database["tasks"].count_documents({})
            assert len(accepted) <= total <= len(accepted | unknown)
    finally:
        if mongod.running:
            mongod.kill()


async def test_without_mongod_nothing_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "COMMIT_DEADLINE_S", 0.5)
    monkeypatch.setattr(client, "STORE_TIMEOUT_S", 1.0)
    mongod = Mongod(tmp_path)
    mongod.start()
    try:
        await mongod.ready()
        async with opened(mongod.settings) as store:
            await ensure_schema(store.database)
            await store.committer.accept(a_task())
            mongod.kill()
            with pytest.raises((Unavailable, OutcomeUnknown)):
                await store.committer.accept(a_task())
            with pytest.raises(Unavailable):
                await store.committer.accept(a_task())
            with pytest.raises(Unavailable):
                await store.tasks.counts()
    finally:
        if mongod.running:
            mongod.kill()
