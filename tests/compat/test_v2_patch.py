"""Tasks that are changed on the real stack, by the client and over the wire."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from khala.client import (
    AlreadyDone,
    AsyncKhala,
    Changed,
    Khala,
    NewTask,
    NotWaiting,
    StageOf,
    Task,
    TaskPatch,
)
from khala.client.jobs import NewJob
from khala.model.ids import JobId
from khala.model.job import JobState, member_id
from khala.model.task import TaskState

BEFORE_S = 120.0


@pytest.fixture
def khala(stack: str) -> Iterator[Khala]:
    with Khala(stack) as khala:
        yield khala


def wait_until(khala: Khala, task: str, state: TaskState) -> Task:
    deadline = time.monotonic() + BEFORE_S
    while (found := khala.get(task)).state is not state:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def explained(stack: str, task: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{stack}/api/v2/tasks/{task}/explain", timeout=90) as response:
        found: dict[str, Any] = json.load(response)
        return found


def echo(word: str, **chosen: Any) -> NewTask:
    return NewTask(execute=StageOf(f"echo {word}"), **chosen)


def test_what_is_submitted_as_held_begins_when_it_is_released(stack: str, khala: Khala) -> None:
    task = khala.submit(echo("begun", held=True, labels={"draft": "1", "course": "cs101"}))
    other = khala.wait(khala.submit(echo("other")))
    assert other.state is TaskState.SUCCEEDED
    found = khala.get(task)
    assert (found.state, found.held, found.attempt) == (TaskState.QUEUED, True, 0)
    seen = explained(stack, task)
    assert seen["summary"] == f"held until it is released (khala release {task})"
    assert [block["code"] for block in seen["blocking"]] == ["held"]
    changed = khala.patch_task(task, TaskPatch(name="later", labels={"draft": None, "n": "2"}))
    assert (changed.name, changed.labels) == ("later", {"course": "cs101", "n": "2"})
    assert changed.held
    released = khala.patch_task(task, TaskPatch(held=False))
    assert not released.held
    ended = khala.wait(task)
    assert (ended.state, ended.name) == (TaskState.SUCCEEDED, "later")
    assert khala.read_output(task) == b"begun\n"
    with pytest.raises(NotWaiting):
        khala.patch_task(task, TaskPatch(held=True, name="no"))
    with pytest.raises(Changed):
        khala.patch_task(task, TaskPatch(name="late"), if_match=released)
    assert khala.patch_task(task, TaskPatch(name="seen"), if_match=khala.get(task)).name == "seen"
    # It has ended a moment ago, and is in the memory of whoever ended it.
    assert khala.patch_task(task, TaskPatch(name="old", labels=None)).name == "old"
    again = khala.get(task)
    assert (again.name, again.labels, again.state) == ("old", {}, TaskState.SUCCEEDED)


def released(stack: str, label: str) -> dict[str, Any]:
    """The one task with it."""
    document = {
        "action": "patch",
        "patch": {"held": False},
        "filter": {"label": [label]},
        "expect_count": 1,
    }
    request = urllib.request.Request(
        f"{stack}/api/v2/tasks/actions",
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        acted: dict[str, Any] = json.load(response)
        return acted


def test_others_overtake_what_is_held_and_the_urgent_goes_first(stack: str, khala: Khala) -> None:
    # One at a time, and none is given ahead of its turn.
    [node] = khala.nodes().executors
    whole: dict[str, float | str] = {"cpus": node.resources["cpus"]}
    busy = khala.submit(NewTask(execute=StageOf("sleep 600"), resources=whole))
    wait_until(khala, busy, TaskState.RUNNING)
    held, plain, urgent = (
        khala.submit(echo(word, labels={"go": word}, resources=whole))
        for word in ("held", "plain", "urgent")
    )
    try:
        assert khala.patch_task(held, TaskPatch(held=True)).held
        assert khala.patch_task(urgent, TaskPatch(priority=5)).priority == 5
        with pytest.raises(NotWaiting):
            khala.patch_task(busy, TaskPatch(priority=1))
    finally:
        khala.cancel(busy)
    first, second = khala.wait(urgent, BEFORE_S), khala.wait(plain, BEFORE_S)
    assert first.started_at is not None
    assert second.started_at is not None
    assert first.started_at < second.started_at
    assert khala.get(held).state is TaskState.QUEUED
    acted = released(stack, "go=held")
    assert (acted["matched"], acted["patched"]) == (1, 1)
    assert khala.wait(held, BEFORE_S).state is TaskState.SUCCEEDED
    with pytest.raises(AlreadyDone):
        khala.cancel(held)


def test_a_job_is_held_with_all_of_its_tasks(stack: str) -> None:
    async def go() -> None:
        async with AsyncKhala(stack) as khala:
            job = await khala.submit_job(NewJob(task=echo("member"), array="0-2", held=True))
            assert (await khala.run(echo("other"))).state is TaskState.SUCCEEDED
            seen = await khala.get_job(job)
            assert (seen.held, seen.counts.queued, seen.counts.running) == (True, 3, 0)
            first = member_id(JobId(job), 1)
            detail = f"held with its job until that is released (khala job release {job})"
            assert (await khala.explain(first)).summary == detail
            assert not (await khala.hold_job(job, held=False)).held
            ended = await khala.wait_job(job, BEFORE_S)
            assert (ended.state, ended.counts.succeeded) == (JobState.SUCCEEDED, 3)
            with pytest.raises(AlreadyDone):
                await khala.hold_job(job)

    asyncio.run(go())
