"""Attempts on the real stack: results that are not the last, and tasks that wait in vain."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from tests.compat.test_v2_tasks import post, result_of

#: Fails until its third attempt, and says which one it is.
FLAKY = 'echo "try $KHALA_ATTEMPT"; [ "$KHALA_ATTEMPT" -ge 3 ] || exit 7'


def read(stack: str, path: str) -> bytes:
    with urllib.request.urlopen(f"{stack}/api/v2/tasks/{path}", timeout=90) as response:
        body: bytes = response.read()
        return body


def tried(stack: str, **retry: object) -> dict[str, Any]:
    document = {"stages": {"execute": {"command": FLAKY}}, "retry": retry}
    status, task, _ = post(stack, document)
    assert status == 200, task
    return task


def test_a_failure_is_tried_again_until_it_is_none(stack: str) -> None:
    task = tried(stack, max_attempts=5, on=["exit_nonzero"], backoff_s=0.1)
    assert (task["state"], task["retries"], task["attempt"]) == ("succeeded", 2, 3)
    assert result_of(task)["stdout"]["text"] == "try 3\n"
    found = json.loads(read(stack, f"{task['id']}/attempts"))
    assert found["forgotten"] == 0
    shown = [(each["attempt"], each["end"], each["exit_code"]) for each in found["attempts"]]
    assert shown == [(1, "retried", 7), (2, "retried", 7), (3, "recorded", 0)]
    for each in found["attempts"]:
        assert each["executor"] and each["started_at"] <= each["ended_at"]
        assert each["usage"]["memory_peak_bytes"] > 0
        written = read(stack, f"{task['id']}/logs?attempt={each['attempt']}&stream=stdout")
        assert written == b"try %d\n" % each["attempt"]
    starts = [each["started_at"] for each in found["attempts"]]
    assert starts == sorted(starts)
    assert json.loads(read(stack, f"{task['id']}/explain"))["attempts"] == found["attempts"]


def test_there_are_no_more_results_than_the_task_allows(stack: str) -> None:
    task = tried(stack, max_attempts=2, backoff_s=0)
    assert (task["state"], task["reason"], task["retries"]) == ("failed", "exit_nonzero", 1)
    assert result_of(task)["stdout"]["text"] == "try 2\n"


def test_another_reason_is_the_last(stack: str) -> None:
    task = tried(stack, max_attempts=5, on=["signal", "wall_time"])
    assert (task["state"], task["attempt"], task["retries"]) == ("failed", 1, 0)


def test_what_waits_longer_than_it_wants_to_ends(stack: str) -> None:
    document = {
        "stages": {"execute": {"command": "true"}},
        "placement": {"require": {"moon": "full"}},
        "queue_ttl_s": 1,
    }
    _, task, _ = post(stack, document)
    assert (task["state"], task["reason"], task["attempt"]) == ("error", "queue_ttl", 0)
    assert "1 s" in task["message"]
    assert json.loads(read(stack, f"{task['id']}/attempts"))["attempts"] == []
