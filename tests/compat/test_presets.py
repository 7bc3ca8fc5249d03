"""Presets on the real stack: kept by the cluster, begun with, changed, removed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.compat.test_v2_depends import ended
from tests.compat.test_v2_tasks import call, post, result_of

PRESETS = "/api/v2/presets"
DAY_S = 86_400


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


def test_each_task_of_a_batch_is_kept_as_long_as_it_says_or_its_preset_does(stack: str) -> None:
    does: dict[str, Any] = {"stages": {"execute": {"command": "true"}}}
    brief = {"task": {**does, "retention": "3d"}}
    assert call(stack, "PUT", f"{PRESETS}/brief", brief)[1]["task"]["retention"] == "3d"
    status, refused = call(stack, "PUT", f"{PRESETS}/none", {"task": {**does, "retention": 5}})
    assert (status, refused["errors"][0]["pointer"]) == (422, "/task/retention")

    wanted: list[tuple[dict[str, Any], int | None]] = [
        ({**does, "retention": "2d"}, 2 * DAY_S),
        (does, None),
        ({"preset": "brief"}, 3 * DAY_S),
        ({"preset": "brief", "retention": 4 * DAY_S}, 4 * DAY_S),
        ({"preset": "brief", "retention": None}, None),
    ]
    documents = [document for document, _ in wanted]
    tasks = {"tasks": [*documents, {"preset": "brief", "retention": "3651d"}]}
    status, planned = call(stack, "POST", "/api/v2/tasks/batch?dry_run=true", tasks)
    assert [each["plan"]["retention_s"] for each in planned["items"][:-1]] == [
        kept_s for _, kept_s in wanted
    ]
    status, answer = call(stack, "POST", "/api/v2/tasks/batch", tasks)
    assert (status, answer["accepted"]) == (200, len(wanted))
    [fault] = answer["items"].pop()["problem"]["errors"]
    assert (fault["pointer"], fault["code"], fault["limit"], fault["given"]) == (
        *("/retention", "above_maximum"),
        *(3650 * DAY_S, 3651 * DAY_S),
    )
    for item, (document, kept_s) in zip(answer["items"], wanted, strict=True):
        task = ended(stack, item["id"])
        assert task["retention_s"] == kept_s, document
        if kept_s is None:
            assert task["removed_after"] is None
            continue
        removed, finished = (
            datetime.fromisoformat(task[name]) for name in ("removed_after", "finished_at")
        )
        assert abs(removed - finished - timedelta(seconds=kept_s)) < timedelta(seconds=1)

    # As it was submitted, whatever becomes of the preset.
    call(stack, "DELETE", f"{PRESETS}/brief")
    _, task = call(stack, "GET", f"/api/v2/tasks/{answer['items'][2]['id']}")
    assert task["retention_s"] == 3 * DAY_S
