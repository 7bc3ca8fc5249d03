"""What a user may have of the cluster, on the real stack; see `conftest.QUOTAS` for how much."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.compat.kv2_client import FORM, Kv2Client
from tests.compat.test_v2_depends import ended

RUNNING, CPU, BYTES = 4001, 4002, 4003
#: For what a busy machine may be slow with; it costs nothing where it is quick.
PATIENCE_S = 120.0


def document(user: int, command: str) -> dict[str, Any]:
    return {"user": user, "stages": {"execute": {"command": command}}}


def post(stack: str, body: object, path: str = "tasks") -> tuple[int, Any, Mapping[str, str]]:
    request = urllib.request.Request(
        f"{stack}/api/v2/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as response:
            return response.status, json.loads(response.read()), dict(response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), dict(error.headers)


def submit(stack: str, user: int, command: str) -> str:
    status, made, _ = post(stack, document(user, command))
    assert status == 201, made
    task: str = made["id"]
    return task


def read(stack: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{stack}/api/v2/{path}", timeout=90) as response:
        found: dict[str, Any] = json.loads(response.read())
    return found


def until(stack: str, path: str, field: str, value: object) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while (found := read(stack, path))[field] != value:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def cancel(stack: str, *paths: str) -> None:
    for path in paths:
        request = urllib.request.Request(f"{stack}/api/v2/{path}/cancel", method="POST")
        urllib.request.urlopen(request, timeout=90).close()


def test_a_task_beyond_what_may_run_waits_and_holds_up_nobody(stack: str, kv2: Kv2Client) -> None:
    first = submit(stack, RUNNING, "sleep 600")
    until(stack, f"tasks/{first}", "state", "running")
    job = {"array": "1-2", "task": document(RUNNING, "true")}
    status, made, _ = post(stack, job, "jobs")
    assert status == 201, made
    behind = submit(stack, RUNNING, "true")
    # Another user's task is behind them, and the second slot is free.
    other = submit(stack, 0, "true")
    assert ended(stack, other)["state"] == "succeeded"
    waiting = read(stack, f"tasks/{behind}")
    assert waiting["state"] == "queued"
    assert waiting["pending"]["code"] == "quota"
    assert "1 of its tasks run, 1 may" in read(stack, f"tasks/{behind}/explain")["summary"]
    quota = until(stack, f"quota?user={RUNNING}", "queued", {"limit": 4, "used": 3.0})
    assert quota["running"] == {"limit": 1, "used": 1.0}

    # Three wait; an array counts whole, before its tasks are made.
    status, problem, headers = post(stack, job, "jobs")
    assert (status, problem["code"]) == (429, "quota_exceeded")
    assert "may have 4 tasks waiting: 3 wait, and this would add 2" in problem["detail"]
    assert headers["Retry-After"] == "1"
    fourth = submit(stack, RUNNING, "true")
    refused = kv2.post({**FORM, "user": str(RUNNING), "execute_command": "true"})
    assert refused.json["result"] == 4
    assert "4 wait" in refused.headers["Khala-Detail"]

    cancel(stack, f"tasks/{first}")
    for task in (behind, fourth):
        assert ended(stack, task)["state"] == "succeeded"
    assert until(stack, f"jobs/{made['id']}", "state", "succeeded")["done"]


def test_processor_time_that_is_used_up_stops_what_follows(stack: str) -> None:
    work = "import time\nwhile time.process_time() < 1.5: pass"
    burning = submit(stack, CPU, f"python3 -c '{work}'")
    assert ended(stack, burning)["state"] == "succeeded"
    used = read(stack, f"quota?user={CPU}")["cpu_s"]
    assert used["limit"] == 1 and used["used"] > 1
    behind = submit(stack, CPU, "true")
    assert "1 seconds of processor time" in read(stack, f"tasks/{behind}/explain")["summary"]
    cancel(stack, f"tasks/{behind}")


def test_stored_bytes_that_are_used_up_refuse_what_follows(stack: str) -> None:
    large = submit(stack, BYTES, "head -c 8000 /dev/zero | tr '\\0' x")
    assert ended(stack, large)["state"] == "succeeded"
    deadline = time.monotonic() + PATIENCE_S
    while (answer := post(stack, document(BYTES, "true")))[0] != 429:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    problem = answer[1]
    assert "may have 0.0 MiB stored" in problem["detail"]


def test_the_command_line_shows_it(stack: str) -> None:
    argv = [sys.executable, "-m", "khala", "quota", "--url", stack, "--user", str(RUNNING)]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[1][:2] == ["waiting", "tasks"] and lines[1][3] == "4"
    assert lines[4] == ["stored", "bytes", "-", "none"]
