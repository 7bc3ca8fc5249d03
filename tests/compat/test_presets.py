"""Presets on the real stack: kept by the cluster, begun with, changed, removed."""

from __future__ import annotations

from typing import Any

from tests.compat.test_v2_depends import ended
from tests.compat.test_v2_tasks import call, post, result_of

PRESETS = "/api/v2/presets"


def test_tasks_begin_with_a_preset_and_keep_what_it_said(stack: str) -> None:
    task: dict[str, Any] = {
        "stages": {"execute": {"command": "echo $GREETING, $NAME", "limits": {"wall_s": 20}}},
        "env": {"GREETING": "hello", "NAME": "nobody"},
    }
    status, made = call(stack, "PUT", f"{PRESETS}/greet", {"description": "Greets.", "task": task})
    assert (status, made["name"], made["description"], made["task"]) == (
        *(200, "greet", "Greets."),
        task,
    )
    assert call(stack, "GET", f"{PRESETS}/greet") == (200, made)
    assert made in call(stack, "GET", PRESETS)[1]["presets"]

    status, first, _ = post(stack, {"preset": "greet", "env": {"NAME": "you"}})
    assert result_of(first)["stdout"]["text"] == "hello, you\n"
    assert first["stages"]["execute"]["limits"]["wall_ms"] == 20_000
    task["env"]["GREETING"] = "goodbye"
    assert call(stack, "PUT", f"{PRESETS}/greet", {"task": task})[0] == 200
    status, second, _ = post(stack, {"preset": "greet", "env": {"NAME": None}})
    assert result_of(second)["stdout"]["text"] == "goodbye,\n"
    status, again = call(stack, "POST", f"/api/v2/tasks/{first['id']}/rerun")
    assert result_of(ended(stack, again["id"]))["stdout"]["text"] == "hello, you\n"

    job = {"task": {"preset": "greet"}, "entries": ["a", "b"]}
    status, submitted = call(stack, "POST", "/api/v2/jobs", job)
    assert (status, submitted["size"]) == (201, 2)
    assert call(stack, "DELETE", f"{PRESETS}/greet")[1]["task"] == task
    assert call(stack, "DELETE", f"{PRESETS}/greet")[0] == 404
    status, refused = call(stack, "POST", "/api/v2/tasks", {"preset": "greet"})
    assert status == 422
    assert [(each["pointer"], each["given"]) for each in refused["errors"]] == [
        ("/preset", "greet")
    ]
