"""What an acknowledgement is worth when mongod is killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import NotPrimaryError

from khala.model.errors import NotFound, OutcomeUnknown, Unavailable
from khala.model.ids import TaskId
from khala.model.statements import FinishResult
from khala.model.task import TaskState
from khala.store import client, committer
from khala.store.client import MongoSettings
from khala.store.codec import Document
from khala.store.roster import MongoRoster, Replica
from khala.store.schema import ensure_schema
from tests.store.conftest import opened
from tests.store.mongod import Mongod
from tests.store.samples import a_lease, a_task, finish_item

Answer = TypeVar("Answer")


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


async def add_member(first: Mongod, added: Mongod, number: int) -> None:
    """Grow the set by one, and wait until the new member can vote with data."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(first.host, directConnection=True)
    try:
        config = (await client.admin.command("replSetGetConfig"))["config"]
        config["version"] += 1
        config["members"].append({"_id": number, "host": added.host})
        async with asyncio.timeout(60):
            # A member that has just been elected is not yet one that may be told.
            while True:
                with contextlib.suppress(NotPrimaryError):
                    await client.admin.command({"replSetReconfig": config})
                    break
                await asyncio.sleep(0.1)
            while True:
                status = await client.admin.command("replSetGetStatus")
                states = [member["stateStr"] for member in status["members"]]
                if sorted(states) == ["PRIMARY"] + ["SECONDARY"] * number:
                    return
                await asyncio.sleep(0.1)
    finally:
        await client.close()


async def patiently(statement: Callable[[], Awaitable[Answer]]) -> Answer:
    """As every caller may: repeat what is refused or in doubt."""
    while True:
        with contextlib.suppress(Unavailable, OutcomeUnknown):
            return await statement()


async def unhealthy(roster: MongoRoster) -> list[Replica]:
    """Raise `Unavailable` until there are some."""
    found = [each for each in await roster.replicas() if not each.healthy]
    if not found:
        await asyncio.sleep(0.1)
        raise Unavailable("all are healthy")
    return found


async def test_a_dead_primary_costs_time_and_nothing_else(tmp_path: Path) -> None:
    members = [Mongod(tmp_path / str(number)) for number in range(3)]
    for member in members:
        member.directory.mkdir()
        member.start()
    try:
        await members[0].ready()
        for number in (1, 2):
            await add_member(members[0], members[number], number)
        settings = MongoSettings(hosts=tuple(member.host for member in members))
        async with opened(settings) as store:
            await ensure_schema(store.database)
            await store.committer.accept(a_task())
            tasks = [a_task(key=f"key-{number}", lease=a_lease()) for number in range(400)]

            async def submit_and_finish(number: int) -> None:
                await asyncio.sleep(number / 400)
                item = finish_item(tasks[number].id)
                assert not (await patiently(lambda: store.committer.accept(tasks[number]))).replay
                result = await patiently(lambda: store.committer.finish(item))
                assert result is FinishResult.RECORDED

            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                for number in range(400):
                    group.create_task(submit_and_finish(number))
                await asyncio.sleep(0.5)
                members[0].kill()
            for task in tasks:
                assert (await store.tasks.get(task.id)).state is TaskState.SUCCEEDED
            assert await store.database["tasks"].count_documents({}) == 401
            dead = await patiently(lambda: unhealthy(MongoRoster(store.database)))
            assert [(each.host, each.behind_s) for each in dead] == [(members[0].host, None)]
    finally:
        for member in members:
            if member.running:
                member.kill()
