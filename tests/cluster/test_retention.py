"""Ended tasks go when an operator says so, by a person's command and by themselves, and nobody who
asks for one afterwards is left to guess."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest

from khala.store.client import MongoSettings, connect, database_of
from khala.store.schema import JOBS, TASKS
from tests.cluster.harness import Khala, running, wait_until
from tests.cluster.test_drain import admin

YEAR_MS = 365 * 86_400_000


def age(khala: Khala) -> None:
    """Everything that has ended was submitted and did so a year before."""
    settings = MongoSettings(hosts=(f"127.0.0.1:{khala.ports['mongodb']}",), replica_set="rs")

    async def change() -> None:
        client = connect(settings)
        try:
            database = database_of(client)
            for name in (TASKS, JOBS):
                dates = {
                    each: {"$subtract": [f"${each}", YEAR_MS]}
                    for each in ("done_at", "submitted_at")
                }
                await database[name].update_many({"done_at": {"$exists": True}}, [{"$set": dates}])
        finally:
            await client.close()

    asyncio.run(change())


def job_of(khala: Khala) -> str:
    document = {"array": "1-3", "task": {"stages": {"execute": {"command": "true"}}}}
    request = urllib.request.Request(
        f"{khala.url}/api/v2/jobs",
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=40) as response:
        job = str(json.load(response)["id"])
    wait_until(lambda: khala.call("GET", f"/api/v2/jobs/{job}")[1]["done"], 120, "the job is done")
    return job


@pytest.mark.timeout(300)
def test_by_hand_it_says_first_and_removes_then(own: Khala) -> None:
    silent = admin(own, "gc", "--dry-run")
    assert silent.returncode == 0, silent.stderr
    assert "would go: 0 tasks" in silent.stdout and "--retention-age 30d" in silent.stdout
    old = own.submit(execute_command="echo old")
    own.wait_done(old)
    job = job_of(own)
    age(own)
    young = own.submit(execute_command="echo young")
    own.wait_done(young)
    waiting = own.submit(execute_command="sleep 600", execute_timeout="600")
    would = admin(own, "gc", "--dry-run", "--retention-age", "30d")
    assert would.returncode == 0, would.stderr
    assert "would go: 4 tasks" in would.stdout and "1 whole jobs" in would.stdout
    assert own.explain(old)["id"] == old
    did = admin(own, "gc", "--retention-age", "30d")
    assert "went: 4 tasks" in did.stdout
    for path in (f"/api/v2/jobs/{job}", f"/api/v2/tasks/{job[:-1]}1", f"/api/v2/tasks/{old}"):
        # A judicator remembers what ended here less than half a minute ago, whatever its date.
        wait_until(lambda: own.call("GET", path)[0] == 404, 120, f"{path} is gone")  # noqa: B023
    for task in (young, waiting):
        assert own.explain(task)["id"] == task


@pytest.mark.timeout(300)
def test_a_cluster_that_was_told_to_does_it_by_itself(tmp_path: Path) -> None:
    options = ("--retention-count", "1")
    with running(tmp_path / "data", options=options) as khala:
        tasks = [khala.submit(execute_command=f"echo {n}") for n in range(3)]
        for task in tasks:
            khala.wait_done(task)
        age(khala)

        def left() -> list[str]:
            return [row["id"] for row in khala.call("GET", "/api/v2/tasks")[1]["items"]]

        wait_until(lambda: len(left()) == 1, 180, "two have gone")
        text = khala.call("GET", "/metrics")[1]
        assert "khala_retention_tasks_total" in text
        status, answer = khala.call("GET", "/api/v2/tasks/5f00000000000000000000aa")
        assert status == 404
        assert "ended and was removed" in answer["detail"]


@pytest.mark.timeout(300)
def test_a_task_that_says_so_goes_where_nothing_else_does(own: Khala) -> None:
    silent = own.submit(execute_command="true")
    own.wait_done(silent)
    document = {"retention": "1h", "stages": {"execute": {"command": "true"}}}
    tasks = [own.send("POST", "/api/v2/tasks", document)[1]["id"] for _ in range(2)]
    for task in tasks:
        own.wait_done(task)
        seen = own.call("GET", f"/api/v2/tasks/{task}")[1]
        assert seen["retention_s"] == 3600 and seen["removed_after"] > seen["finished_at"]
        told = own.call("GET", f"/api/v2/tasks/{task}/explain")[1]
        assert told["removal"].startswith("It is removed after ")
    status, kept = own.send("PATCH", f"/api/v2/tasks/{tasks[1]}", {"retention": None})
    assert (status, kept["removed_after"]) == (200, None)
    age(own)
    wait_until(lambda: own.call("GET", f"/api/v2/tasks/{tasks[0]}")[0] == 404, 180, "it has gone")
    for task in (silent, tasks[1]):
        assert own.call("GET", f"/api/v2/tasks/{task}")[0] == 200
    assert "would go: 0 tasks" in admin(own, "gc", "--dry-run").stdout
