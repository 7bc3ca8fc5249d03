"""An operator takes an executor out of service and back, while others submit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.harness import PEX, Khala, wait_until

#: Statuses of the first API.
QUEUED, RUNNING, RETRYING = 0, 3, 6


def admin(khala: Khala, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PEX), *arguments, "--data-dir", str(khala.data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def executor(own: Khala) -> str:
    (node,) = own.call("GET", "/api/v2/nodes")[1]["executors"]
    return str(node["name"])


def test_a_drain_waits_and_at_its_deadline_moves_what_still_runs(
    own: Khala, executor: str, tmp_path: Path
) -> None:
    running = own.submit(execute_command="sleep 600", execute_timeout="600")
    wait_until(lambda: own.task(running)["status"] == RUNNING, 60, "it runs")
    said = tmp_path / "said"
    command = (str(PEX), "drain", executor, "--monitor", "--reason", "a new disk")
    with said.open("wb") as output:
        drain = subprocess.Popen(
            [*command, "--data-dir", str(own.data_dir)], stdout=output, stderr=output
        )
        wait_until(lambda: "1 task still on it" in said.read_text(), 60, "it waits")
        waiting = own.submit(execute_command="echo waited")
        assert own.task(running)["status"] == RUNNING
        # Whoever asks last is who is meant.
        shorter = admin(own, "drain", executor, "--deadline", "1s", "--reason", "a new disk")
        assert shorter.returncode == 0, shorter.stderr
        assert drain.wait(60) == 0
    for words in (shorter.stdout, said.read_text()):
        assert f"{executor} is empty; safe to stop.\n" in words
    assert [own.task(task)["status"] for task in (running, waiting)] == [RETRYING, QUEUED]
    why = 'no online executor can run it now: of 1, 1 cordoned: "a new disk"'
    wait_until(lambda: own.explain(running)["pending"]["detail"] == why, 60, "the reason is told")
    assert "a new disk" in admin(own, "status").stdout
    (node,) = own.call("GET", "/api/v2/nodes")[1]["executors"]
    assert (node["cordon"]["reason"], node["free"]) == ("a new disk", 0)
    own.kill9("executor")
    own.kill9("judicator-serve")
    wait_until(lambda: admin(own, "status").returncode == 0, 60, "both are back")
    assert own.task(waiting)["status"] == QUEUED
    assert admin(own, "uncordon", executor).returncode == 0
    assert own.wait_done(waiting)["result"]["execute_output"] == "waited\n"
    wait_until(lambda: own.task(running)["status"] == RUNNING, 60, "it runs again")
    assert own.explain(running)["attempt"] == 2


def test_the_same_by_http(own: Khala, executor: str) -> None:
    path = f"/api/v2/nodes/{executor}"
    assert own.call("GET", f"{path}/cordon")[1] == {
        "name": executor,
        "running": 0,
        "cordon": None,
    }
    running = own.submit(execute_command="sleep 600", execute_timeout="600")
    wait_until(lambda: own.task(running)["status"] == RUNNING, 60, "it runs")
    status, answer = own.send("POST", f"{path}/cordon", {"reason": "a look"})
    assert (status, answer["running"], answer["cordon"]["reason"]) == (200, 1, "a look")
    assert answer["cordon"]["deadline"] is None
    status, answer = own.send("POST", f"{path}/drain", {"deadline": 0.5})
    assert status == 200
    wait_until(
        lambda: own.call("GET", f"{path}/cordon")[1]["running"] == 0, 60, "the task has moved"
    )
    assert own.task(running)["status"] == RETRYING
    assert own.call("DELETE", f"{path}/cordon")[1]["cordon"] is None
    wait_until(lambda: own.task(running)["status"] == RUNNING, 60, "it runs again")
    for body, pointer in (
        ({"deadline": "8d"}, "/deadline"),
        ({"deadline": "soon"}, "/deadline"),
        ({"reason": "x" * 201}, "/reason"),
        ({"why": ""}, "/why"),
    ):
        status, answer = own.send("POST", f"{path}/drain", body)
        assert (status, answer["errors"][0]["pointer"]) == (422, pointer)
    assert own.send("POST", "/api/v2/nodes/nobody/drain", {})[0] == 404


def test_one_that_does_not_exist_is_named(shared: Khala) -> None:
    for word in ("cordon", "uncordon", "drain"):
        refused = admin(shared, word, "nobody")
        assert refused.returncode == 2
        assert "there is no executor 'nobody'" in refused.stderr
