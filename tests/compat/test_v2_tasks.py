"""Tasks by document, from the request to what the jail saw of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping
from typing import Any

import pytest

_SUM = b"#!/bin/sh\necho $(($1 + $2))\n"


def post(
    stack: str, document: object, query: str = "?wait=60s", key: str | None = None
) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    request = urllib.request.Request(
        f"{stack}/api/v2/tasks{query}", data=json.dumps(document).encode(), headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as response:
            return response.status, json.loads(response.read()), dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), dict(error.headers)


def result_of(task: dict[str, Any], stage: str = "execute") -> dict[str, Any]:
    result: dict[str, Any] = task["stages"][stage]["result"]
    return result


def test_sources_environment_and_limits_reach_the_jail(stack: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("lib.sh", 'greet() { echo "$GREETING, $1 $LEVEL"; }\n' * 50)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        program = tarfile.TarInfo("./bin/sum")
        program.size, program.mode = len(_SUM), 0o755
        tar.addfile(program, io.BytesIO(_SUM))
    status, task, headers = post(
        stack,
        {
            "user": 3,
            "sources": [
                {"path": "main.sh", "text": "source lib/lib.sh; greet $(cat data/who); cat\n"},
                {
                    "path": "lib",
                    "base64": base64.b64encode(archive.getvalue()).decode(),
                    "unpack": "zip",
                },
                {"base64": base64.b64encode(packed.getvalue()).decode(), "unpack": "tar"},
            ],
            "data": [{"path": "who", "text": "world"}],
            "stages": {
                "compile": {
                    "command": 'echo "$GREETING $LEVEL"; bash -n main.sh',
                    "limits": {"wall_s": "20s", "memory": "64MiB"},
                },
                "execute": {
                    "command": "bash main.sh; ulimit -f; bin/sum 0 $KHALA_ATTEMPT",
                    "env": {"LEVEL": '2 "quoted"\né'},
                    "limits": {"wall_s": 20, "file_size": "1MiB", "pids": 20},
                },
            },
            "stdin": {"text": "from stdin\n"},
            "expect": {"stdout": {"text": "kept"}},
            "env": {"GREETING": "hello", "LEVEL": "1"},
        },
    )
    assert (status, task["state"]) == (200, "succeeded"), task
    assert headers["Location"] == f"/api/v2/tasks/{task['id']}"
    assert result_of(task, "compile")["stdout"]["text"] == "hello 1\n"
    assert result_of(task)["stdout"]["text"] == (
        'hello, world 2 "quoted"\né\nfrom stdin\n1024\n1\n'
    )
    assert task["stages"]["execute"]["limits"]["pids"] == 20
    assert task["stages"]["execute"]["env"] == {"GREETING": "hello", "LEVEL": '2 "quoted"\né'}
    assert task["inputs"]["execute_standard"]["text"] == "kept"


@pytest.mark.parametrize(
    ("limits", "command", "reason", "limit"),
    [
        ({"wall_s": "1s"}, "sleep 30", "wall_time", 1000),
        ({"wall_s": 30, "cpu_s": 0.5}, "while :; do :; done", "cpu_time", 500),
        ({"memory": "32MiB"}, "x=$(head -c 100M /dev/zero | tr '\\0' x)", "memory", 32 << 20),
        ({"output": 1000}, "yes", "output_limit", 1000),
        ({"file_size": "64KiB"}, "head -c 1M /dev/zero > f", "file_size", 64 << 10),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_limit_of_the_task_ends_its_stage(
    stack: str, limits: object, command: str, reason: str, limit: int
) -> None:
    status, task, _ = post(stack, {"stages": {"execute": {"command": command, "limits": limits}}})
    assert (status, task["state"]) == (200, "failed")
    result = result_of(task)
    assert (result["reason"], result["limit"]) == (reason, limit), result
    assert result["observed"] >= limit * 0.9


def test_either_stage_may_be_absent(stack: str) -> None:
    _, task, _ = post(stack, {"stages": {"compile": {"command": "echo only"}}})
    assert task["state"] == "succeeded"
    assert result_of(task, "compile")["stdout"]["text"] == "only\n"
    assert task["stages"]["execute"]["result"] is None


def test_the_same_key_is_the_same_task(stack: str) -> None:
    document = {"stages": {"execute": {"command": "true"}}, "env": {"A": "1", "B": "2"}}
    status, first, _ = post(stack, document, "", "the-key")
    assert status == 201
    # The order of names is no difference.
    status, again, headers = post(stack, {**document, "env": {"B": "2", "A": "1"}}, "", "the-key")
    assert (status, again["id"]) == (201, first["id"])
    assert headers["Idempotency-Replayed"] == "true"
    for other in ({"env": {"A": "2"}}, {"cache": "off"}):
        status, body, _ = post(stack, {**document, **other}, "", "the-key")
        assert (status, body["code"]) == (422, "idempotency_mismatch")


def test_a_dry_run_creates_nothing(stack: str) -> None:
    def total() -> int:
        with urllib.request.urlopen(f"{stack}/api/task/list", timeout=30) as response:
            return len(json.loads(response.read())["tasks"])

    before = total()
    status, plan, _ = post(stack, {"stages": {"execute": {"command": "x"}}}, "?dry_run=true")
    assert status == 200
    assert plan["stages"]["execute"]["limits"]["memory_bytes"] == 512 << 20
    status, body, _ = post(stack, {"stages": {}, "usr": 1}, "?dry_run=true")
    assert (status, body["errors"][0]["pointer"]) == (422, "/usr")
    assert total() == before


def test_a_blob_is_sent_once_and_reaches_every_task_that_names_it(stack: str) -> None:
    """Above the size that travels in a document, and above one chunk of the store."""
    data = os.urandom(9 * 1024 * 1024)
    digest = hashlib.sha256(data).hexdigest()
    for status in (201, 200):
        request = urllib.request.Request(f"{stack}/api/v2/blobs/{digest}", data=data, method="PUT")
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.status == status
    for _ in range(2):
        _, task, _ = post(
            stack,
            {
                "stdin": {"blob": f"sha256:{digest}"},
                "sources": [{"path": "in.bin", "blob": f"sha256:{digest}"}],
                "stages": {"execute": {"command": "sha256sum <in.bin; sha256sum"}},
            },
        )
        assert result_of(task)["stdout"]["text"] == f"{digest}  -\n" * 2, task
    with urllib.request.urlopen(f"{stack}/api/v2/blobs/{digest}", timeout=60) as response:
        assert response.read() == data


def call(stack: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(stack + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_task_is_run_again_and_forgotten(stack: str) -> None:
    _, first, _ = post(
        stack,
        {
            "stages": {"execute": {"command": "cat; head -c 3M /dev/zero > out"}},
            "stdin": {"text": "one\n"},
            "artifacts": {"collect": ["out"]},
        },
    )
    overrides = {"overrides": {"stdin": {"text": "two\n"}}}
    status, made = call(stack, "POST", f"/api/v2/tasks/{first['id']}/rerun", overrides)
    assert status == 201
    _, second = call(stack, "GET", f"/api/v2/tasks/{made['id']}?wait=60s")
    assert (second["state"], second["rerun_of"]) == ("succeeded", first["id"])
    assert result_of(second)["stdout"]["text"] == "two\n"
    status, made = call(stack, "POST", f"/api/v2/tasks/{first['id']}/retry")
    _, third = call(stack, "GET", f"/api/v2/tasks/{made['id']}?wait=60s")
    assert result_of(third)["stdout"]["text"] == "one\n"
    assert call(stack, "DELETE", f"/api/v2/tasks/{first['id']}") == (204, None)
    for path in ("", "/artifacts", "/artifacts/out"):
        assert call(stack, "GET", f"/api/v2/tasks/{first['id']}{path}")[0] == 404
    with urllib.request.urlopen(f"{stack}/api/v2/tasks/{third['id']}/artifacts/out") as response:
        assert len(response.read()) == 3 << 20


def test_a_task_that_is_cancelled_while_it_runs_says_by_whom(stack: str) -> None:
    _, made, _ = post(stack, {"stages": {"execute": {"command": "sleep 600"}}}, "")
    path = f"/api/v2/tasks/{made['id']}"
    while call(stack, "GET", path)[1]["state"] != "running":
        time.sleep(0.05)
    said = {"reason": "wrong input", "by": "ann"}
    status, row = call(stack, "POST", f"{path}/cancel", said)
    assert (status, row["cancellation"]) == (200, said)
    # Whoever comes later changes nothing, and hears what was said.
    status, row = call(stack, "POST", f"{path}/cancel", {"by": "ben"})
    assert (status, row["cancellation"]) == (200, said)
    _, seen = call(stack, "GET", path)
    assert (seen["state"], seen["attempt"], seen["cancellation"]) == ("cancelled", 1, said)
    assert seen["message"] == "cancelled by ann: wrong input"
    _, explained = call(stack, "GET", f"{path}/explain")
    assert explained["summary"] == seen["message"]
    _, page = call(stack, "GET", f"/api/v2/tasks?id_prefix={made['id']}")
    assert [row["cancellation"] for row in page["items"]] == [said]
    # KV2's clients see what they always did.
    _, old = call(stack, "GET", f"/api/task?id={made['id']}")
    assert (old["task"]["status"], old["task"]["result"]) == (7, None)


def test_what_is_cancelled_may_tidy_up(stack: str) -> None:
    command = "trap 'echo tidy; exit' TERM; echo begun; while :; do sleep 0.05; done"
    _, made, _ = post(stack, {"stages": {"execute": {"command": command}}}, "")
    path = f"/api/v2/tasks/{made['id']}"

    def written() -> str:
        with urllib.request.urlopen(f"{stack}{path}/logs", timeout=30) as response:
            return str(response.read().decode())

    while "begun" not in written():
        time.sleep(0.05)
    status, row = call(stack, "POST", f"{path}/cancel", {"by": "ann", "grace_s": "2m"})
    assert (status, row["state"]) == (200, "cancelled")
    assert row["cancellation"] == {"by": "ann", "reason": "", "grace_s": 120}
    while "tidy" not in written():
        time.sleep(0.05)
    assert written().splitlines()[:2] == ["begun", "tidy"]


def test_all_of_a_filter_are_cancelled(stack: str) -> None:
    document = {"user": 4711, "stages": {"execute": {"command": "sleep 600"}}}
    for _ in range(3):
        assert post(stack, document, "")[0] == 201
    body = {"action": "cancel", "filter": {"user": 4711}, "expect_count": 2}
    assert call(stack, "POST", "/api/v2/tasks/actions", body)[0] == 409
    status, acted = call(stack, "POST", "/api/v2/tasks/actions", {**body, "expect_count": 3})
    assert (status, acted["cancelled"]) == (200, 3)
    _, page = call(stack, "GET", "/api/v2/tasks?user=4711&state=cancelled")
    assert len(page["items"]) == 3


def test_tasks_are_found_by_words(stack: str) -> None:
    def found(text: str, more: str = "") -> list[str]:
        words = urllib.parse.quote(text)
        status, page = call(stack, "GET", f"/api/v2/tasks?q={words}&user=4712{more}")
        assert status == 200, page
        return [row["id"] for row in page["items"]]

    command = {"stages": {"execute": {"command": "sleep 600"}}, "user": 4712}
    first = post(stack, {**command, "name": "Alpha a.b(", "labels": {"hw": "3"}}, "")[1]["id"]
    second = post(stack, {**command, "name": f"like {first}", "labels": {"hw": "4"}}, "")[1]["id"]
    array = {"name": "words", "array": "0-2", "task": {**command, "name": "beta"}}
    _, job = call(stack, "POST", "/api/v2/jobs", array)
    while len(found(job["id"])) < 3:
        time.sleep(0.05)
    assert found("alpha") == found("A.B(") == found("hw=3") == found("hw=3 alpha") == [first]
    assert found(first) == found(first.upper()) == [first]
    assert found(first[:23]) == [second, first]
    assert found("like hw=4") == [second]
    assert found("alpha hw=4") == found("axb(") == []
    members = found("beta")
    assert {each[:18] for each in members} == {job["id"][:18]}
    assert found(job["id"]) == members
    assert found("beta", "&limit=2") == members[:2]

    status, problem = call(stack, "GET", "/api/v2/tasks?q=%20")
    assert (status, problem["field"]) == (400, "q")
    act = {"action": "cancel", "filter": {"q": "a b c d e f g h i"}, "expect_count": 0}
    status, problem = call(stack, "POST", "/api/v2/tasks/actions", act)
    assert (status, problem["errors"][0]["pointer"]) == (422, "/filter/q")
    for text, count in ((job["id"], 3), (f"{first} hw=3", 1), ("LIKE hw=4", 1)):
        matching = {"q": text, "user": 4712}
        act = {"action": "cancel", "filter": matching, "expect_count": count}
        status, acted = call(stack, "POST", "/api/v2/tasks/actions", act)
        assert (status, acted.get("cancelled")) == (200, count), acted


def test_a_list_by_priority_has_the_urgent_first(stack: str) -> None:
    made = []
    for priority in (-1, 0, 100, 0, 100):
        document = {
            "user": 4713,
            "priority": priority,
            "held": True,
            "stages": {"execute": {"command": "true"}},
        }
        status, created, _ = post(stack, document, "")
        assert status == 201
        made.append(created["id"])
    address = "/api/v2/tasks?user=4713&sort=priority"
    _, page = call(stack, "GET", address)
    assert [row["id"] for row in page["items"]] == [made[n] for n in (4, 2, 3, 1, 0)]
    assert [row["priority"] for row in page["items"]] == [100, 100, 0, 0, -1]
    assert page["total"] == 5
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        _, page = call(stack, "GET", f"{address}&order=oldest&state=queued&limit=2{cursor}")
        found += [row["id"] for row in page["items"]]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert found == [made[n] for n in (2, 4, 1, 3, 0)]
    # What is moved while it waits stands elsewhere.
    assert call(stack, "PATCH", f"/api/v2/tasks/{made[0]}", {"priority": 7})[0] == 200
    _, page = call(stack, "GET", f"{address}&order=oldest")
    assert [row["id"] for row in page["items"]] == [made[n] for n in (2, 4, 0, 1, 3)]
    body = {"action": "cancel", "filter": {"user": 4713}, "expect_count": 5}
    assert call(stack, "POST", "/api/v2/tasks/actions", body)[0] == 200
