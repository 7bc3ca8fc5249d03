"""Tasks that wait for others, on the real stack."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from tests.compat.test_v2_tasks import post


def submit(stack: str, command: str, *depends_on: object) -> str:
    document = {"stages": {"execute": {"command": command}}, "depends_on": depends_on}
    status, made, _ = post(stack, document, query="")
    assert status == 201, made
    task: str = made["id"]
    return task


def ended(stack: str, task: str) -> dict[str, Any]:
    url = f"{stack}/api/v2/tasks/{task}?wait=60s"
    with urllib.request.urlopen(url, timeout=90) as response:
        found: dict[str, Any] = json.loads(response.read())
    return found


def test_a_chain_runs_in_its_order_and_a_failure_ends_it(stack: str) -> None:
    first = submit(stack, "sleep 0.5; exit 3")
    after_any = submit(stack, "true", {"id": first, "on": "any"})
    after_ok = submit(stack, "true", first)
    behind = submit(stack, "true", after_ok, after_any)
    waiting = ended(stack, first)
    ran = ended(stack, after_any)
    assert ran["state"] == "succeeded" and ran["started_at"] >= waiting["finished_at"]
    assert ran["depends_on"] == [{"id": first, "on": "any"}]
    failed = ended(stack, after_ok)
    assert (failed["state"], failed["reason"]) == ("error", "dependency_failed")
    assert first in failed["message"] and failed["attempt"] == 0
    assert after_ok in ended(stack, behind)["message"]


def test_what_waits_says_for_what(stack: str) -> None:
    first = submit(stack, "sleep 60")
    second = submit(stack, "true", first)
    with urllib.request.urlopen(f"{stack}/api/v2/tasks/{second}/explain", timeout=90) as response:
        assert first in json.loads(response.read())["summary"]
    cancel = urllib.request.Request(f"{stack}/api/v2/tasks/{first}/cancel", method="POST")
    with urllib.request.urlopen(cancel, timeout=90):
        pass
    assert "cancelled" in ended(stack, second)["message"]


def test_only_what_exists_can_be_named(stack: str) -> None:
    document = {"stages": {"execute": {"command": "true"}}, "depends_on": ["f" * 24]}
    status, problem, _ = post(stack, document)
    assert (status, problem["code"]) == (422, "no_such_task")
    assert problem["field"] == "/depends_on/0"
