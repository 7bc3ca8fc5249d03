"""kill -9 of any one process, then of all, in the middle of 50 tasks: every task is done once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cluster.harness import Khala, running, wait_until

TASKS = 50
#: Prints who it is, so that a result can be held against the attempt it claims to come from.
COMMAND = "sleep 0.2; echo $KHALA_TASK $KHALA_ATTEMPT"
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
