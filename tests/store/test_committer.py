"""Group commit on a MongoDB that fails on command."""

from __future__ import annotations

import asyncio
import time

import pytest

from khala.model.errors import OutcomeUnknown, Rejected, Unavailable
from khala.model.ids import AttemptNo, JudicatorName, mint_task_id
from khala.model.outcome import Stream
from khala.model.statements import AcceptResult, ChunkItem, FinishResult, NewTask
from khala.model.task import TaskState
from khala.store import committer
from khala.store.client import change
from khala.store.codec import Document
from khala.store.mongo import MongoStore
from tests.store.conftest import failing
from tests.store.samples import a_hello, a_lease, a_task, finish_item, lease_item

#: The server does it and says that it may not last.
UNCONFIRMED = {
    "writeConcernError": {"code": 91, "errmsg": "Replication is being shut down"},
}
#: In none of these does the caller learn from the answer whether the command was executed.
LOST_ANSWER: list[Document] = [
    {"closeConnection": True},
    {"errorCode": 10107},
    {"errorCode": 11602},
    {"errorCode": 189},
    {"errorCode": 50},
    UNCONFIRMED,
]


async def many_leased(store: MongoStore, count: int) -> list[NewTask]:
    tasks = [a_task(lease=a_lease()) for _ in range(count)]
    await asyncio.gather(*(store.committer.accept(task) for task in tasks))
    return tasks


async def commands_run(store: MongoStore, name: str) -> int:
    status = await store.database.command("serverStatus")
    total: int = status["metrics"]["commands"][name]["total"]
    return total


async def test_what_waits_travels_together(mongo: MongoStore) -> None:
    before = await commands_run(mongo, "insert")
    tasks = await many_leased(mongo, 400)
    inserts = await commands_run(mongo, "insert") - before
    assert 1 <= inserts <= 8
    before = await commands_run(mongo, "update")
    results = await asyncio.gather(
        *(mongo.committer.finish(finish_item(task.id)) for task in tasks)
    )
    assert set(results) == {FinishResult.RECORDED}
    assert await commands_run(mongo, "update") - before <= 8


@pytest.mark.parametrize("fault", LOST_ANSWER, ids=str)
async def test_an_accept_whose_answer_is_lost_is_resolved(
    mongo: MongoStore, fault: Document
) -> None:
    tasks = [a_task(key=f"k{n}") for n in range(20)]
    async with failing(mongo, 2, {"failCommands": ["insert"], **fault}):
        results = await asyncio.gather(*(mongo.committer.accept(task) for task in tasks))
    assert [result.id for result in results] == [task.id for task in tasks]
    assert not any(result.replay for result in results)
    assert (await mongo.tasks.counts()).queued == 20


@pytest.mark.parametrize("fault", LOST_ANSWER, ids=str)
async def test_a_lease_whose_answer_is_lost_is_resolved(mongo: MongoStore, fault: Document) -> None:
    tasks = [a_task() for _ in range(20)]
    await asyncio.gather(*(mongo.committer.accept(task) for task in tasks))
    await mongo.committer.lease(lease_item(tasks[0].id))
    async with failing(mongo, 2, {"failCommands": ["update"], **fault}):
        won = await asyncio.gather(*(mongo.committer.lease(lease_item(task.id)) for task in tasks))
    assert won == [False] + [True] * 19
    attempts = [(await mongo.tasks.get(task.id)).attempt for task in tasks]
    assert attempts == [1] * 20


@pytest.mark.parametrize("fault", LOST_ANSWER, ids=str)
async def test_a_result_whose_answer_is_lost_is_resolved(
    mongo: MongoStore, fault: Document
) -> None:
    tasks = await many_leased(mongo, 20)
    await mongo.dispatch.cancel_if_open(tasks[0].id)
    async with failing(mongo, 2, {"failCommands": ["update"], **fault}):
        results = await asyncio.gather(
            *(mongo.committer.finish(finish_item(task.id)) for task in tasks)
        )
    assert results == [FinishResult.STALE] + [FinishResult.RECORDED] * 19


async def test_the_read_that_settles_may_fail_too(mongo: MongoStore) -> None:
    [task] = await many_leased(mongo, 1)
    await mongo.committer.finish(finish_item(task.id))
    # Two failures are one attempt of the driver and its own repetition.
    async with failing(mongo, 2, {"failCommands": ["find"], "closeConnection": True}):
        assert await mongo.committer.finish(finish_item(task.id)) is FinishResult.RECORDED


@pytest.mark.parametrize("fault", LOST_ANSWER[:4], ids=str)
async def test_single_statements_survive_a_lost_answer(mongo: MongoStore, fault: Document) -> None:
    [task] = await many_leased(mongo, 1)
    retryable = {**fault, "errorLabels": ["RetryableWriteError"]}
    async with failing(mongo, 1, {"failCommands": ["findAndModify"], **retryable}):
        result = await mongo.dispatch.cancel_if_open(task.id)
    assert result.brief.state is TaskState.CANCELLED
    async with failing(mongo, 1, {"failCommands": ["findAndModify"], **retryable}):
        assert (await mongo.dispatch.open_session(a_hello())).session == 1


@pytest.mark.parametrize("key", ["\ud800", None], ids=["half a character", "a huge number"])
async def test_what_cannot_be_encoded_fails_alone(mongo: MongoStore, key: str | None) -> None:
    bad = a_task(key=key) if key else a_task(user=2**70)
    tasks = [a_task(), bad, a_task()]
    answers = await asyncio.gather(
        *(mongo.committer.accept(task) for task in tasks), return_exceptions=True
    )
    assert isinstance(answers.pop(1), Rejected)
    assert answers == [AcceptResult(id=task.id, replay=False) for task in (tasks[0], tasks[2])]


async def test_at_the_deadline_doubt_is_said(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "COMMIT_DEADLINE_S", 0.4)
    task = a_task()
    async with failing(mongo, 1000, {"failCommands": ["insert"], "closeConnection": True}):
        with pytest.raises(OutcomeUnknown):
            await mongo.committer.accept(task)


async def test_at_the_deadline_what_did_not_happen_may_be_retried(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "COMMIT_DEADLINE_S", 0.4)
    async with failing(mongo, 1000, {"failCommands": ["insert"], "errorCode": 10107}):
        with pytest.raises(Unavailable):
            await mongo.committer.accept(a_task())


async def test_an_unconfirmed_write_is_not_acknowledged(mongo: MongoStore) -> None:
    async with failing(mongo, 1, {"failCommands": ["update"], **UNCONFIRMED}):
        with pytest.raises(OutcomeUnknown, match="majority"):
            await mongo.sessions.pulse(JudicatorName("j1"))


async def test_commands_are_not_repeated_behind_our_back(mongo: MongoStore) -> None:
    insert = {"insert": "payloads", "documents": [{"data": b"x"}]}
    async with failing(mongo, 1, {"failCommands": ["insert"], "closeConnection": True}):
        with pytest.raises(OutcomeUnknown):
            await change(mongo.database, dict(insert))
    assert (await change(mongo.database, insert))["n"] == 1


async def test_a_caller_that_leaves_does_not_disturb_its_neighbours(mongo: MongoStore) -> None:
    tasks = [a_task() for _ in range(50)]
    block = {"failCommands": ["insert"], "blockConnection": True, "blockTimeMS": 100}
    async with failing(mongo, 2, block):
        calls = [asyncio.ensure_future(mongo.committer.accept(task)) for task in tasks]
        await asyncio.sleep(0.02)
        for call in calls[::2]:
            call.cancel()
        stayed = await asyncio.gather(*calls[1::2])
    assert [result.id for result in stayed] == [task.id for task in tasks[1::2]]


async def test_a_long_output_does_not_hold_up_a_result(mongo: MongoStore) -> None:
    [task] = await many_leased(mongo, 1)
    block = {"failCommands": ["insert"], "blockConnection": True, "blockTimeMS": 700}
    piece = ChunkItem(
        id=mint_task_id(), attempt=AttemptNo(1), stream=Stream.EXECUTE_OUTPUT, n=0, data=b"x"
    )
    async with failing(mongo, 1, block):
        output = asyncio.ensure_future(mongo.committer.output(piece))
        started = time.monotonic()
        await mongo.committer.finish(finish_item(task.id))
        assert not output.done()
        assert time.monotonic() - started < 0.7
        await output


async def test_drain_waits_for_what_is_under_way(mongo: MongoStore) -> None:
    block = {"failCommands": ["insert"], "blockConnection": True, "blockTimeMS": 200}
    async with failing(mongo, 1, block):
        call = asyncio.ensure_future(mongo.committer.accept(a_task()))
        await asyncio.sleep(0.02)
        assert not await mongo.committer.drain(0.02)
        assert await mongo.committer.drain(5.0)
        assert (await call).replay is False
