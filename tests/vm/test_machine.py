"""A machine that does not do what it should ends at once, says why and leaves nothing running."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vm.machine import Machine, Place
from tests.vm.warden import processes_of

_TEST = "tests/vm/guest.py::test_the_hierarchy_is_pure_v2"


def test_a_silent_machine_is_ended_and_quoted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Place.ROOT, [_TEST])
    try:
        assert processes_of(machine.session)
        with pytest.raises(AssertionError, match=r"silent for 0\.3 s\n--- console\.log ---\n.*\w"):
            machine.result(_TEST, silence_s=0.3)
        assert processes_of(machine.session) == []
    finally:
        machine.stop()


def test_a_machine_whose_pytest_fails_to_start_is_quoted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Place.ROOT, ["tests/vm/guest.py::test_nothing_of_that_name"])
    try:
        with pytest.raises(AssertionError) as failed:
            machine.result(_TEST)
    finally:
        machine.stop()
    assert "the machine ended before this test" in str(failed.value)
    assert "pytest ended with 4" in str(failed.value), "the end of the console"
    assert "test_nothing_of_that_name" in str(failed.value), "the end of pytest's output"
    assert processes_of(machine.session) == []


def test_a_machine_ends_by_itself(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Place.DELEGATED, [_TEST])
    try:
        assert machine.result(_TEST).outcome == "passed"
        with pytest.raises(AssertionError, match="the machine ended before this test"):
            machine.result("another test")
        assert processes_of(machine.session) == []
    finally:
        machine.stop()


@pytest.mark.parametrize("moment", ["when it begins", "as it boots"])
def test_a_machine_ends_with_the_process_that_started_it(tmp_path: Path, moment: str) -> None:
    wait = "while not (folder / 'console.log').read_bytes():\n    time.sleep(0.01)\n"
    code = (
        "import pathlib, time\n"
        "from tests.vm.machine import Machine, Place\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        f"machine = Machine(folder, Place.ROOT, [{_TEST!r}])\n"
        f"{wait if moment == 'as it boots' else ''}"
        "print(machine.session, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        session = int(starter.stdout.readline())
        starter.kill()
    deadline = time.monotonic() + 60
    while pids := processes_of(session):
        assert time.monotonic() < deadline, f"{pids} run on"
        time.sleep(0.01)
