"""kill -9 of any one process, then of all, in the middle of 50 tasks: every task is done once."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from tests.cluster.harness import Khala, running, wait_until

TASKS = 50
#: Prints who it is, so that a result can be held against the attempt it claims to come from.
COMMAND = "sleep 0.2; echo $KHALA_TASK_ID $KHALA_ATTEMPT"
PROCESSES = ["etcd", "mongod", "judicator-serve", "judicator", "executor", "gateway", "nsjail"]


def submit_all(khala: Khala) -> list[str]:
    return [khala.submit(execute_command=COMMAND, execute_timeout="30") for _ in range(TASKS)]


def wait_started(khala: Khala, tasks: list[str]) -> None:
    wait_until(lambda: khala.task(tasks[3])["done"], 60, "the first tasks are done")


def assert_all_done_once(khala: Khala, tasks: list[str]) -> None:
    assert len(set(tasks)) == TASKS
    for task in tasks:
        done = khala.wait_done(task, timeout_s=120)
        told = khala.explain(task)
        assert done["status"] == 5, told
        # The output is that of the attempt whose result was recorded, and of that one alone.
        assert done["result"]["execute_output"] == f"{task} {told['attempt']}\n"


@pytest.mark.parametrize("word", PROCESSES)
def test_one_process_dies(own: Khala, word: str) -> None:
    tasks = submit_all(own)
    wait_started(own, tasks)
    own.kill9(word)
    assert_all_done_once(own, tasks)
    # And it goes on working: the process is back, or its work is done by another.
    assert own.wait_done(own.submit(execute_command="echo again"))["status"] == 5
    if word != "nsjail":
        assert own.pid_of(word)


def test_executor_dies_between_collecting_and_delivering(own: Khala) -> None:
    """The result is spooled, its files are not stored: they are, by the next executor process,
    and nothing runs twice."""
    command = "sleep 3; echo $KHALA_ATTEMPT > made; head -c 9M /dev/zero > big"
    document = {"stages": {"execute": {"command": command}}, "artifacts": {"collect": ["*"]}}
    wait_until(lambda: own.pid_of("executor"), 30, "the executor is there")
    request = urllib.request.Request(
        f"{own.url}/api/v2/tasks",
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        task = json.loads(response.read())["id"]
    spooled = own.data_dir / "executor" / "spool" / f"{task}.1.msgpack"
    wait_until(lambda: own.explain(task)["state"] == "running", 30, "the task runs")
    judicator = own.pid_of("judicator-serve")
    os.kill(judicator, signal.SIGSTOP)
    try:
        wait_until(spooled.exists, 30, "the result is on the executor's disk")
        own.kill9("executor")
    finally:
        os.kill(judicator, signal.SIGCONT)
    assert own.wait_done(task, timeout_s=120)["status"] == 5
    assert own.explain(task)["attempt"] == 1
    listed = own.call("GET", f"/api/v2/tasks/{task}/artifacts")[1]
    assert {file["name"]: file["size"] for file in listed["files"]} == {
        "big": 9 << 20,
        "compile.sh": 0,
        "execute.in": 0,
        "made": 2,
        "execute.sh": len(command),
    }
    assert own.call("GET", f"/api/v2/tasks/{task}/artifacts/made")[1] == 1
    with urllib.request.urlopen(f"{own.url}/api/v2/tasks/{task}/artifacts/big") as response:
        assert response.read() == bytes(9 << 20)


def test_up_dies_and_takes_everything_with_it(own: Khala) -> None:
    tasks = submit_all(own)
    wait_started(own, tasks)
    assert own.process is not None
    own.process.kill()
    wait_until(lambda: not own.pids_alive(), 30, "no child survives its parent")
    own.reap()
    own.start()
    assert_all_done_once(own, tasks)


def test_everything_dies_and_comes_back(own: Khala) -> None:
    tasks = submit_all(own)
    wait_started(own, tasks)
    own.kill9_everything()
    own.start()
    assert_all_done_once(own, tasks)


def test_ctrl_c_ends_cleanly_and_the_next_start_finds_everything(tmp_path: Path) -> None:
    with running(tmp_path / "data") as khala:
        tasks = submit_all(khala)
        wait_started(khala, tasks)
        assert khala.process is not None
        started = time.monotonic()
        process = khala.process
        khala.stop()
        assert process.returncode == 0, khala.log_tail()
        assert time.monotonic() - started < 30
        assert khala.pids() == []
        khala.start()
        assert_all_done_once(khala, tasks)
