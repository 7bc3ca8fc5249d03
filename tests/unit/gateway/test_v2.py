"""The second API: its documents, its waiting, its events, its errors."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import cast

import msgspec
import pytest

from khala.model.errors import Unavailable
from khala.model.ids import AttemptNo
from khala.model.limits import VIEW_TEXT_BYTES
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome, Stream, StreamCut, StreamRef
from khala.model.spec import Stage
from khala.model.task import Dispatch, Progress, Task
from roles.gateway.texts import decode
from tests.unit.gateway.conftest import Site, break_with
from tests.unit.gateway.test_kv2 import UNKNOWN, ended, task_of

Document = dict[str, object]
DONE = Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK)


async def get(site: Site, path: str) -> tuple[int, Document]:
    async with site.http.get(site.url(path)) as response:
        return response.status, cast(Document, await response.json(content_type=None))


async def test_a_task_document(site: Site) -> None:
    output = b"h" * 100_000
    outcome = Outcome(
        ending=Ending.FAILED,
        reason=Reason.WALL_TIME,
        stage=Stage.EXECUTE,
        compile=StageOutcome(reason=Reason.OK, exit_code=0),
        execute=StageOutcome(
            reason=Reason.WALL_TIME,
            limit=1000,
            observed=1001,
            stdout_bytes=100_000,
            note="too slow",
        ),
        streams={Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=100_000)},
    )
    task = site.judicator.add(task_of(compile_source=b"zip", execute_input=b"in"), outcome)
    site.judicator.store(task, Stream.EXECUTE_OUTPUT, output)
    status, document = await get(site, f"/api/v2/tasks/{task.id}")
    assert status == 200
    assert document["state"] == "failed"
    assert document["message"] == "too slow"
    assert document["created_at"] == "2026-11-24T00:04:08.615Z"
    assert document["finished_at"] is None
    inputs = cast(dict[str, Document], document["inputs"])
    assert inputs["compile_source"]["size"] == 3
    assert inputs["execute_data"] is None
    assert inputs["execute_input"] == {"size": 2, "text": "in"}
    stages = cast(dict[str, Document], document["stages"])
    result = cast(dict[str, Document], stages["execute"]["result"])
    assert result["stdout"] == {
        "size": 100_000,
        "kept": 100_000,
        "text": "h" * VIEW_TEXT_BYTES,
        "gap": None,
        "tail": None,
        "truncated": True,
    }
    assert result["stderr"] == {
        "size": 0,
        "kept": 0,
        "text": "",
        "gap": None,
        "tail": None,
        "truncated": False,
    }


async def test_the_gap_of_an_output_that_was_cut(site: Site) -> None:
    kept = "begin é".encode()[:-1] + "é end".encode()[1:]
    cut = StreamCut(seen_bytes=5000, gap_at=7)
    long = b"h" * 100_000 + b"t" * 100_000
    outcome = Outcome(
        ending=Ending.SUCCEEDED,
        reason=Reason.OK,
        stage=Stage.EXECUTE,
        execute=StageOutcome(
            reason=Reason.OK,
            stdout_cut=cut,
            stderr_cut=StreamCut(seen_bytes=1_000_000, gap_at=100_000),
            written_bytes=7000,
        ),
        streams={
            Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=len(kept), inline=kept),
            Stream.EXECUTE_ERROR: StreamRef(size_bytes=len(long)),
        },
    )
    task = site.judicator.add(task_of(), outcome)
    site.judicator.store(task, Stream.EXECUTE_ERROR, long)
    _, document = await get(site, f"/api/v2/tasks/{task.id}")
    stages = cast(dict[str, Document], document["stages"])
    result = cast(dict[str, Document], stages["execute"]["result"])
    assert result["stdout"] == {
        "size": 5000,
        "kept": len(kept),
        # Halves of a character that stood at the gap are no text.
        "text": "begin ",
        "gap": {"at": 7, "missing": 5000 - len(kept)},
        "tail": " end",
        "truncated": False,
    }
    assert result["stderr"] == {
        "size": 1_000_000,
        "kept": 200_000,
        "text": "h" * VIEW_TEXT_BYTES,
        "gap": {"at": 100_000, "missing": 800_000},
        "tail": None,
        "truncated": True,
    }
    assert cast(object, result["written_bytes"]) == 7000
    assert result["pids_peak"] is None


@pytest.mark.parametrize("letter", ["é", "€", "😀"])
@pytest.mark.parametrize("shift", range(4))
def test_a_cut_spares_whole_characters(letter: str, shift: int) -> None:
    data = (b"x" * shift + letter.encode() * VIEW_TEXT_BYTES)[:VIEW_TEXT_BYTES]
    assert set(decode(data)) <= {"x", letter}


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert decode(b"a\xffb") == "a�b"
    assert decode(b"\x80" * VIEW_TEXT_BYTES) == "�" * VIEW_TEXT_BYTES


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/api/v2/tasks/{UNKNOWN}", 404, "not_found"),
        ("/api/v2/tasks/nonsense", 400, "invalid_request"),
        (f"/api/v2/tasks/{UNKNOWN}?wait=1h", 400, "invalid_request"),
        ("/api/v2/nothing", 404, "not_found"),
    ],
)
async def test_problems(site: Site, path: str, status: int, code: str) -> None:
    async with site.http.get(site.url(path)) as response:
        assert response.content_type == "application/problem+json"
        problem = await response.json(content_type=None)
    assert (response.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"/docs/problems#{code}"
    assert problem["instance"] == path.partition("?")[0]
    assert problem["title"] == code.replace("_", " ").capitalize()
    assert problem["detail"]
    assert "retry_after_s" not in problem


async def test_a_wrong_method_names_the_right_ones(site: Site) -> None:
    async with site.http.put(site.url("/api/v2/nodes")) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    async with site.http.put(site.url("/api/task")) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    async with site.http.options(site.url("/api/task")) as response:
        assert response.status == 200
        assert set(response.headers["Allow"].split(", ")) == {
            *("GET", "HEAD", "POST", "DELETE", "OPTIONS")
        }


async def test_a_broken_cluster_is_a_503(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("khala.net.calls.PATIENCE_S", 0.0)
    await break_with(site, Unavailable("the store does not acknowledge writes"))
    status, problem = await get(site, f"/api/v2/tasks/{UNKNOWN}")
    assert (status, problem["code"]) == (503, "unavailable")
    assert problem["detail"] == "the store does not acknowledge writes"
    assert problem["retry_after_s"] == 1


async def change(site: Site, task: Task, progress: Progress | None, *, bring: bool = False) -> None:
    """Lease the task with that progress, or end it."""
    changed = msgspec.structs.replace(
        task,
        dispatch=Dispatch.LEASED if progress else Dispatch.DONE,
        attempt=AttemptNo(1),
        progress=progress,
        outcome=None if progress else DONE,
    )
    await site.judicator.change(changed, bring=bring)


async def test_waiting_for_a_change(site: Site) -> None:
    task = site.judicator.add(task_of())
    path = site.url(f"/api/v2/tasks/{task.id}")
    async with site.http.get(path) as response:
        etag = response.headers["ETag"]
    async with site.http.get(path, headers={"If-None-Match": etag}) as response:
        assert response.status == 304
    async with site.http.get(path, params={"wait": "1s", "since": etag}) as response:
        assert response.status == 304
    waiting = asyncio.ensure_future(
        get(site, f"/api/v2/tasks/{task.id}?wait=30s&since={etag.strip(chr(34))}")
    )
    await asyncio.sleep(0.1)
    start = time.monotonic()
    await change(site, task, Progress.RUNNING)
    assert (await waiting)[1]["state"] == "running"
    assert time.monotonic() - start < 0.9  # sooner than the next reading without an event


async def test_waiting_for_the_end(site: Site) -> None:
    task = site.judicator.add(task_of())
    waiting = asyncio.ensure_future(get(site, f"/api/v2/tasks/{task.id}?wait=30"))
    await asyncio.sleep(0.05)
    await change(site, task, Progress.RUNNING)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await change(site, task, None)
    assert (await waiting)[1]["state"] == "succeeded"


async def test_news_that_bring_the_task_are_the_answer(site: Site) -> None:
    task = site.judicator.add(task_of())
    waiting = asyncio.ensure_future(get(site, f"/api/v2/tasks/{task.id}?wait=30"))
    async with asyncio.timeout(10):
        while not (site.judicator.reads and site.judicator.listeners):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    reads = site.judicator.reads
    await change(site, task, None, bring=True)
    document = (await waiting)[1]
    assert site.judicator.reads == reads
    assert document == (await get(site, f"/api/v2/tasks/{task.id}"))[1]


async def test_a_task_that_has_ended_is_not_waited_for(site: Site) -> None:
    task = site.judicator.add(task_of(), DONE)
    async with asyncio.timeout(5):
        assert (await get(site, f"/api/v2/tasks/{task.id}?wait=60s"))[1]["state"] == "succeeded"
    assert (await get(site, f"/api/v2/tasks/{task.id}?wait=61s"))[0] == 400


async def events_of(site: Site) -> AsyncIterator[tuple[str, Document]]:
    async with site.http.get(site.url("/api/v2/events")) as response:
        assert response.content_type == "text/event-stream"
        name = ""
        async for line in response.content:
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: "):
                yield name, json.loads(text.removeprefix("data: "))


async def test_events(site: Site) -> None:
    async with asyncio.timeout(10):
        while not site.judicator.listeners:
            await asyncio.sleep(0.05)
        events = events_of(site)
        assert (await anext(events))[0] == "hello"
        task = site.judicator.add(task_of())
        await change(site, task, Progress.COMPILING)
        name, data = await anext(events)
        assert name == "task"
        assert data == {
            "id": task.id,
            "user": 0,
            "name": "",
            "state": "compiling",
            "kv2_status": 1,
            "reason": None,
            "executor": None,
            "attempt": 1,
            "created_at": "2026-11-24T00:04:08.615Z",
            "updated_at": "2026-11-24T00:04:08.616Z",
            "done": False,
            "verdict": None,
            "score": None,
            "finished_at": None,
            "cancellation": None,
            "held": False,
            "priority": 0,
            "job": None,
        }
        await events.aclose()  # type: ignore[attr-defined]


async def test_status_and_nodes(site: Site) -> None:
    status, document = await get(site, "/api/v2/status")
    assert status == 200
    assert document == {
        "version": document["version"],
        "ready": True,
        "queued": 1,
        "running": 2,
        "slots": 4,
        "free": 3,
        "notes": ["One judicator: the cluster does not survive the loss of its host."],
    }
    _, nodes = await get(site, "/api/v2/nodes")
    executors = cast(list[Document], nodes["executors"])
    assert [(node["name"], node["state"], node["free"]) for node in executors] == [
        ("executor.1", "online", 3),
        ("gone", "lost", 0),
    ]
    assert nodes["judicators"] == [
        {
            "name": "judicator",
            "address": site.judicator.address,
            "leader": True,
            "serving": True,
            "version": "1",
        }
    ]


async def test_results_in_plain_words(site: Site) -> None:
    task = site.judicator.add(task_of(), ended(Reason.OUTPUT_LIMIT, Stage.COMPILE))
    _, document = await get(site, f"/api/v2/tasks/{task.id}")
    assert document["message"] == "The task ended with: output limit."
