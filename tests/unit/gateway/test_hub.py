"""Waiting for a task: what wakes those who wait, and what is remembered for them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from khala.model.ids import AttemptNo, TaskId
from khala.model.task import TaskBrief, TaskState
from khala.protocol.rpc import TaskChanged
from roles.gateway.hub import Hub
from tests.unit.gateway.double import START

TASK = TaskId("6b04d4787d852fb9eb7f7a4e")
CHANGED = TaskChanged(
    task=TaskBrief(
        id=TASK,
        user=0,
        state=TaskState.QUEUED,
        attempt=AttemptNo(0),
        submitted_at=START,
        updated_at=START,
    )
)


OPEN, ENDED = TaskState.RUNNING, TaskState.SUCCEEDED


async def test_whoever_waits_is_woken_by_the_task_alone() -> None:
    hub = Hub()
    with hub.watch(TASK, ends_only=False) as watch:
        waiting = asyncio.ensure_future(watch.wait(30))
        await asyncio.sleep(0)
        other = msgspec.structs.replace(CHANGED.task, id=TaskId("0" * 24))
        hub.on_event(TaskChanged(task=other))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.on_event(CHANGED)
        async with asyncio.timeout(5):
            await waiting


async def test_whoever_waits_for_the_end_sleeps_through_the_rest() -> None:
    hub = Hub()
    with hub.watch(TASK, ends_only=True) as watch:
        hub.on_event(TaskChanged(task=msgspec.structs.replace(CHANGED.task, state=OPEN)))
        waiting = asyncio.ensure_future(watch.wait(30))
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.on_event(TaskChanged(task=msgspec.structs.replace(CHANGED.task, state=ENDED)))
        async with asyncio.timeout(5):
            await waiting


async def test_what_happens_before_the_wait_is_not_missed() -> None:
    hub = Hub()
    with hub.watch(TASK, ends_only=True) as watch:
        hub.on_event(TaskChanged(task=msgspec.structs.replace(CHANGED.task, state=ENDED)))
        async with asyncio.timeout(5):
            await watch.wait(30)


def test_open_tasks_are_remembered_until_they_end_or_something_may_be_missed() -> None:
    hub = Hub()
    task_open = TaskChanged(task=msgspec.structs.replace(CHANGED.task, state=OPEN))
    hub.on_event(task_open)
    assert hub.known_open(TASK)
    hub.on_event(TaskChanged(task=msgspec.structs.replace(CHANGED.task, state=ENDED)))
    assert not hub.known_open(TASK)
    hub.on_event(task_open)
    hub.on_gap()
    assert not hub.known_open(TASK)


def test_the_news_of_an_end_may_be_faster_than_the_answer_to_the_submission() -> None:
    hub = Hub()
    hub.on_event(TaskChanged(task=msgspec.structs.replace(CHANGED.task, state=ENDED)))
    hub.accepted(TASK)
    assert not hub.known_open(TASK)
    other = TaskId("1" * 24)
    hub.accepted(other)
    assert hub.known_open(other)


def test_memory_of_open_tasks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roles.gateway.hub.TASKS_REMEMBERED", 2)
    hub = Hub()
    for digit in "123":
        task = msgspec.structs.replace(CHANGED.task, id=TaskId(digit * 24), state=OPEN)
        hub.on_event(TaskChanged(task=task))
    assert [hub.known_open(TaskId(digit * 24)) for digit in "123"] == [False, True, True]
