"""The queue on the real stack: the same places by call, by the client and by command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from khala.client import Khala
from tests.compat.test_quotas import PATIENCE_S, cancel, post, read

USER = 4101
PACED = 4102


def submit(stack: str, **fields: object) -> str:
    """Nobody can run it, so it waits."""
    document = {
        "user": USER,
        "stages": {"execute": {"command": "true"}},
        "placement": {"require": {"zone": "nowhere"}},
        **fields,
    }
    status, made, _ = post(stack, document)
    assert status == 201, made
    task: str = made["id"]
    return task


def khala(stack: str, *words: str) -> str:
    argv = [sys.executable, "-m", "khala", "queue", "--url", stack, *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    return done.stdout


def test_what_waits_is_shown_in_its_order(stack: str) -> None:
    plain = submit(stack, name="plain", resources={"cpus": 1.5, "gpu": 1})
    last = submit(stack, priority=-2)
    first = submit(stack, priority=5)
    try:
        found = read(stack, f"queue?user={USER}")
        items: list[dict[str, Any]] = found["items"]
        assert [each["id"] for each in items] == [first, plain, last]
        places = [each["position"] for each in items]
        assert places == sorted(places) and not found["more"]
        assert found["queued"] >= 3 and found["queued_is_exact"]
        assert found["oldest_queued_s"] > 0
        mine = {"user": USER, "queued": 3, "held": 0, "running": 0}
        assert mine in found["users"] and found["users_are_exact"]
        assert items[1]["needs"] == {"cpus": 1.5, "gpu": 1.0} and items[1]["name"] == "plain"
        assert items[1]["placement"]["require"] == {"zone": "nowhere"}
        assert items[0]["priority"] == 5 and items[0]["waited_s"] >= 0
        # The priorities of others count where a task is explained, too.
        for task, place in zip((first, plain, last), places, strict=True):
            assert read(stack, f"tasks/{task}/explain")["position"] == place
        with Khala(stack) as client:
            seen = client.queue(user=USER, limit=2)
            scale = client.autoscale(within_s=1)
        assert ([each.id for each in seen.items], seen.more) == ([first, plain], True)
        # A machine of a kind that is not there would be needed.
        kinds = {each.next_task: each for each in scale.lines}
        assert (kinds[plain].queued, kinds[plain].executors) == (1, 0)
        assert kinds[plain].needs == {"cpus": 1.5, "gpu": 1.0}
        assert kinds[first].placement.require == {"zone": "nowhere"}
        assert scale.slots == 2 and scale.desired_slots >= 2
        lines = khala(stack, "--user", str(USER)).splitlines()
        rows = [line.split() for line in lines if first in line or plain in line]
        assert rows[0][:2] == [str(places[0]), first]
        assert rows[1][-3:] == ["cpus=1.5", "gpu=1", "zone=nowhere"]
        assert json.loads(khala(stack, "-o", "json"))[0]["queued"] >= 3
    finally:
        cancel(stack, *(f"tasks/{task}" for task in (first, plain, last)))


def test_what_waits_is_told_when_its_turn_is(stack: str) -> None:
    document = {"user": PACED, "stages": {"execute": {"command": "sleep 0.3"}}}
    status, made, _ = post(stack, {"array": "1-300", "task": document}, "jobs")
    assert status == 201, made
    try:
        deadline, turn = time.monotonic() + PATIENCE_S, None
        while turn is None:
            assert time.monotonic() < deadline, "nothing was said of any task"
            time.sleep(0.2)
            for row in read(stack, f"tasks?user={PACED}&state=queued&limit=1")["items"]:
                seen = read(stack, f"tasks/{row['id']}/explain")
                shown = read(stack, f"tasks/{row['id']}")["pending"] or {}
                turn = seen["estimated_start"] and shown.get("estimated_start")
        assert 1 <= turn["p50_s"] <= turn["p90_s"]
        assert "it starts in about" in seen["summary"]
    finally:
        cancel(stack, f"jobs/{made['id']}")
