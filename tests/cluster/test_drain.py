"""An operator takes an executor out of service and back, while others submit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.harness import PEX, Khala, wait_until


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


def test_a_drained_executor_keeps_what_it_runs_and_takes_nothing_new(
    own: Khala, executor: str, tmp_path: Path
) -> None:
    running = own.submit(execute_command="sleep 600", execute_timeout="600")
    wait_until(lambda: own.task(running)["status"] == 3, 60, "it runs")
    late = admin(own, "drain", executor, "--deadline", "1s", "--reason", "a new disk")
    assert late.returncode == 69
    assert "1 task still on it; it stays cordoned" in late.stderr
    waiting = own.submit(execute_command="echo waited")
    said = tmp_path / "said"
    command = (str(PEX), "drain", executor, "--monitor", "--reason", "a new disk")
    with said.open("wb") as output:
        drain = subprocess.Popen(
            [*command, "--data-dir", str(own.data_dir)], stdout=output, stderr=output
        )
        wait_until(lambda: "1 task still on it" in said.read_text(), 60, "it waits")
        assert own.task(running)["status"] == 3
        own.call("DELETE", f"/api/task?id={running}")
        assert drain.wait(60) == 0
    assert f"{executor} is empty; safe to stop.\n" in said.read_text()
    assert own.task(waiting)["status"] == 0
    assert "a new disk" in admin(own, "status").stdout
    (node,) = own.call("GET", "/api/v2/nodes")[1]["executors"]
    assert (node["cordon"]["reason"], node["free"]) == ("a new disk", 0)
    own.kill9("executor")
    own.kill9("judicator-serve")
    wait_until(lambda: admin(own, "status").returncode == 0, 60, "both are back")
    assert own.task(waiting)["status"] == 0
    assert admin(own, "uncordon", executor).returncode == 0
    assert own.wait_done(waiting)["result"]["execute_output"] == "waited\n"


def test_one_that_does_not_exist_is_named(shared: Khala) -> None:
    for word in ("cordon", "uncordon", "drain"):
        refused = admin(shared, word, "nobody")
        assert refused.returncode == 2
        assert "there is no executor 'nobody'" in refused.stderr
