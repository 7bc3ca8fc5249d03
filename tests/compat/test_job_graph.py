"""What a job waits for and what waits for it, on the real stack."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from khala.client import Khala
from tests.compat.test_quotas import PATIENCE_S, cancel, post, read

#: Nobody can run it, so it waits.
NOWHERE = {"stages": {"execute": {"command": "true"}}, "placement": {"require": {"zone": "no"}}}


def submit(stack: str, path: str, document: dict[str, Any]) -> str:
    status, made, _ = post(stack, document, path)
    assert status == 201, made
    known: str = made["id"]
    return known


def test_a_job_stands_between_what_it_waits_for_and_what_waits_for_it(stack: str) -> None:
    first = submit(stack, "tasks", {**NOWHERE, "name": "prepare"})
    listed = [{**NOWHERE, "depends_on": [first]}, NOWHERE, NOWHERE]
    job = submit(stack, "jobs", {"name": "sweep", "tasks": listed})
    second = f"{job[:-6]}000002"
    after = {"id": job, "on": "any"}
    last = submit(stack, "tasks", {**NOWHERE, "name": "collect", "depends_on": [after]})
    array = {"task": {**NOWHERE, "depends_on": [second]}, "array": "1-5", "name": "more"}
    behind = submit(stack, "jobs", array)
    try:
        deadline = time.monotonic() + PATIENCE_S
        found = read(stack, f"jobs/{job}/graph")
        while not any(node["id"] == behind for node in found["nodes"]):  # its tasks are being made
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
            found = read(stack, f"jobs/{job}/graph")
        nodes = {node["id"]: node for node in found["nodes"]}
        assert found["nodes"][0] == {
            "id": job,
            "kind": "job",
            "inside": True,
            "name": "sweep",
            "state": "queued",
            "job": None,
        }
        member = f"{job[:-6]}000001"
        assert set(nodes) == {job, first, member, second, last, behind}
        assert [node for node, each in nodes.items() if each["inside"]] == [job, member, second]
        assert nodes[second]["job"] == {"id": job, "index": 1}
        assert (nodes[first]["kind"], nodes[first]["state"]) == ("task", "queued")
        assert (nodes[behind]["kind"], nodes[behind]["name"]) == ("job", "more")
        edges = {(each["from"], each["to"], each["on"]) for each in found["edges"]}
        assert edges == {
            (first, member, "ok"),
            (job, last, "any"),
            (second, behind, "ok"),
        }
        assert not found["more"]
        of_array = read(stack, f"jobs/{behind}/graph")
        assert [(each["from"], each["to"]) for each in of_array["edges"]] == [(second, behind)]
        with Khala(stack) as client:
            assert client.job_graph(job).nodes[0].name == "sweep"
        argv = [sys.executable, "-m", "khala", "job", "graph", job, "--url", stack]
        shown = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        lines = shown.stdout.splitlines()
        assert lines[:4] == [
            f"job {job}  sweep  queued",
            "waits for",
            f"  task {first}  prepare  queued  (for index 0)",
            "is waited for by",
        ]
        assert set(lines[4:]) == {
            f"  task {last}  collect  queued  whatever its end",
            f"  job {behind}  more  queued  (waits for index 1)",
        }
    finally:
        cancel(stack, f"jobs/{job}", f"jobs/{behind}", f"tasks/{first}", f"tasks/{last}")
