"""Creating a task by a document: statuses, headers, repetition, waiting, and problem documents."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import aiohttp
import msgspec
import pytest

from khala.model.errors import Conflict
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.spec import Part
from khala.model.task import Dispatch
from tests.unit.gateway.conftest import MAX_BODY, MIB, Site, break_with

SMALLEST: dict[str, Any] = {"stages": {"execute": {"command": "true"}}}
DONE = Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK)


async def create(
    site: Site, document: object, query: str = "", **headers: str
) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with site.http.post(
        site.url(f"/api/v2/tasks{query}"), json=document, headers=named
    ) as response:
        return response, await response.json(content_type=None)


async def test_created_and_shown(site: Site) -> None:
    document = {
        **SMALLEST,
        "env": {"A": "1"},
        "image": "gcc",
        "cache": "off",
        "artifacts": {"collect": ["*.o"]},
        "stages": {
            "execute": {"command": "true", "limits": {"memory": "64MiB"}, "env": {"B": "2"}}
        },
    }
    response, body = await create(site, document)
    assert response.status == 201
    where = f"/api/v2/tasks/{body['id']}"
    assert response.headers["Location"] == where
    assert body["links"] == {"self": where, "ui": f"/tasks/{body['id']}"}
    async with site.http.get(site.url(where)) as shown:
        task = await shown.json()
    assert task["stages"]["execute"]["limits"]["memory_bytes"] == 64 * MIB
    assert task["stages"]["execute"]["env"] == {"A": "1", "B": "2"}
    assert task["stages"]["compile"]["env"] == {"A": "1"}
    assert (task["image"], task["cache"]) == ("gcc", "off")
    assert task["artifacts_request"] == {
        "collect": ["*.o"],
        "max_total": 32 * MIB,
        "max_files": 1000,
    }


async def test_parts_of_a_multipart_body(site: Site) -> None:
    form = aiohttp.FormData()
    spec = {
        "sources": [{"path": "a.bin", "part": "a"}],
        "stdin": {"part": "in"},
        "stages": {"execute": {"command": "cat a.bin"}},
    }
    form.add_field("spec", json.dumps(spec), content_type="application/json", filename="task.json")
    form.add_field("a", b"\0\xff", filename="a.bin")
    form.add_field("in", "text")
    async with site.http.post(site.url("/api/v2/tasks"), data=form) as response:
        assert response.status == 201, await response.text()
    [submitted] = site.judicator.submitted
    assert b"\0\xff" in submitted.parts[Part.COMPILE_SOURCE]
    assert submitted.parts[Part.EXECUTE_INPUT] == b"text"


async def test_a_multipart_body_without_a_document(site: Site) -> None:
    form = aiohttp.FormData({"a": "b"})
    form.add_field("c", b"", filename="c")
    async with site.http.post(site.url("/api/v2/tasks"), data=form) as response:
        assert response.status == 400
        assert "spec" in (await response.json(content_type=None))["detail"]


async def test_faults_are_a_problem_document(site: Site) -> None:
    document = {"stages": {"execute": {"command": "x", "limits": {"memory": "8GiB", "pids": 0}}}}
    response, body = await create(site, document)
    assert response.status == 422
    assert response.content_type == "application/problem+json"
    assert (body["status"], body["code"]) == (422, "validation_failed")
    assert "field" not in body
    assert body["errors"][0] == {
        "pointer": "/stages/execute/limits/memory",
        "code": "above_maximum",
        "detail": body["errors"][0]["detail"],
        "limit": 2048 * MIB,
        "given": 8192 * MIB,
    }
    assert body["errors"][1]["pointer"] == "/stages/execute/limits/pids"
    assert body["detail"].startswith(
        "/stages/execute/limits/memory: 8GiB is more than the maximum of 2GiB;"
    )
    assert site.judicator.submitted == []


@pytest.mark.parametrize(
    ("data", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_request"),
        (b"{}", "application/json; charset=utf-8", 422, "validation_failed"),
        (b"{}", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "multipart/form-data", 400, "invalid_request"),
        (b" " * (MAX_BODY + 1), "application/json", 413, "too_large"),
    ],
)
async def test_bodies_that_are_refused(
    site: Site, data: bytes, content_type: str, status: int, code: str
) -> None:
    headers = {"Content-Type": content_type}
    async with site.http.post(
        site.url("/api/v2/tasks"), data=io.BytesIO(data), headers=headers
    ) as response:
        body = await response.json(content_type=None)
        assert (response.status, body["code"]) == (status, code)


@pytest.mark.parametrize("query", ["?wait=61", "?wait=x", "?dry_run=maybe"])
async def test_parameters_that_are_refused(site: Site, query: str) -> None:
    response, body = await create(site, SMALLEST, query)
    assert (response.status, body["code"]) == (400, "invalid_request")
    assert body["field"] in query


async def test_a_dry_run_says_what_would_hold(site: Site) -> None:
    document = {
        "sources": [{"path": "a", "text": "abc"}],
        "stages": {"execute": {"command": "x", "env": {"A": "1"}, "limits": {"wall_s": "2s"}}},
    }
    response, body = await create(site, document, "?dry_run=true")
    assert response.status == 200
    assert list(body["stages"]) == ["execute"]
    assert body["stages"]["execute"]["limits"]["wall_ms"] == 2000
    assert body["stages"]["execute"]["env"] == {"A": "1"}
    assert set(body["inputs"]) == {"compile_source", "execute_command"}
    assert body["artifacts"] is None
    assert site.judicator.submitted == []
    response, _ = await create(site, {"stages": {}}, "?dry_run=true")
    assert response.status == 422


async def test_a_key_makes_repeating_safe(site: Site) -> None:
    _, first = await create(site, SMALLEST, Idempotency_Key="k-1")
    response, again = await create(site, SMALLEST, Idempotency_Key="k-1")
    assert again["id"] == first["id"]
    assert response.headers["Idempotency-Replayed"] == "true"
    response, _ = await create(site, SMALLEST, Idempotency_Key="x" * 129)
    assert response.status == 400


async def test_a_key_of_another_document(site: Site) -> None:
    await break_with(site, Conflict("key: already used with another request"))
    response, body = await create(site, SMALLEST, Idempotency_Key="k-2")
    assert (response.status, body["code"]) == (422, "idempotency_mismatch")


async def test_waiting_for_the_end(site: Site) -> None:
    response, body = await create(site, SMALLEST, "?wait=1s")
    assert (response.status, body["state"]) == (202, "queued")
    waiting = asyncio.ensure_future(create(site, SMALLEST, "?wait=30s"))
    while len(site.judicator.tasks) < 2:
        await asyncio.sleep(0.01)
    task = list(site.judicator.tasks.values())[-1]
    await site.judicator.change(msgspec.structs.replace(task, dispatch=Dispatch.DONE, outcome=DONE))
    response, body = await waiting
    assert (response.status, body["state"]) == (200, "succeeded")
    assert response.headers["Location"].endswith(body["id"])


async def test_only_posting_is_possible(site: Site) -> None:
    async with site.http.put(site.url("/api/v2/tasks")) as response:
        assert response.status == 405
        assert "POST" in response.headers["Allow"]
