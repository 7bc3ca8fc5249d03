"""The sandbox's own tests, each of which runs in the machines and ends here as it ended there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm.conftest import Machines
from tests.vm.machine import SILENCE_S, Place

_ROOT = Path(__file__).parents[2]
#: First, because the sandbox's tests go into namespaces and groups of their own.
_GUEST = "tests/vm/guest.py"


def _files(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/sandbox/{folder}test_{name}.py" for name in names)


def _tests(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/sandbox/test_{file}.py::test_{name}" for name in names)


#: What a group of one's own is needed for, what differs without root, and what a place is asked at
#: the start. The rest of what a task may see, call and use up does not depend on the place.
_BY_PLACE = (
    _GUEST,
    *_files("", "doctor", "endings"),
    *_tests("limits", "wall_time", "cpu_time_is_that_of_all_processes", "cpu_share", "memory"),
    *_tests("limits", "memory_of_a_child_ends_the_whole_stage", "process_limit", "fork_bomb"),
    *_tests("limits", "measures", "less_memory_than_the_jail_itself_needs"),
    *_tests("isolation", "stdin_cannot_be_changed", "slots_have_users_of_their_own"),
)
_ATTACKS = ("processes", "memory", "shared", "files", "outputs", "neighbours")
#: Machines are booted in this order: the long ones first.
_MACHINES = {
    "attacks": (Place.ROOT, _files("attacks/", *_ATTACKS)),
    "calls": (Place.ROOT, _files("attacks/", "calls", "archives", "service_files")),
    "limits": (Place.ROOT, (_GUEST, *_files("", "limits", "endings", "doctor"))),
    "programs": (Place.ROOT, _files("", "languages", "host", "programs", "exposed", "isolation")),
    Place.DELEGATED.value: (Place.DELEGATED, _BY_PLACE),
    Place.SERVICE.value: (Place.SERVICE, _BY_PLACE),
}
_ONE_ENTRY = "the guest has one way to call the kernel, and takes the older ones for it"
_NO_SHADOW = "shadow memory lies at addresses that the guest does not have"
#: What the guest's kernel cannot do, whatever the sandbox does, and why. The host's run of the same
#: tests has them; docs/sandbox.md lists them.
_NOT_IN_THERE = {
    "test_isolation.py::test_the_old_system_call_entry_kills": _ONE_ENTRY,
    **{
        f"attacks/test_processes.py::test_processes[old entry {name}]": _ONE_ENTRY
        for name in ("exit", "fork", "unshare", "socketcall", "mount", "by far return")
    },
    **{
        f"test_languages.py::test_honest_programs[C, {name}]": _NO_SHADOW
        for name in ("address sanitizer", "address sanitizer finds", "thread sanitizer")
    },
    "attacks/test_calls.py::test_denied[socket raw of version 6]": "the guest has no IPv6",
    "attacks/test_memory.py::test_memory[page tables]": "the guest's do not count as memory",
    "attacks/test_memory.py::test_memory[anonymous, much more than the host has]": (
        "the guest has no addresses for as much; the program crashes before it has the memory"
    ),
}
pytestmark = pytest.mark.timeout(SILENCE_S + 60)


def _names() -> dict[str, list[str]]:
    """The tests of each machine; in another process, because this one is collecting just now."""
    files = {each.partition("::")[0] for _, suite in _MACHINES.values() for each in suite}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, _GUEST, *sorted(files - {_GUEST})],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    tests = [line for line in found.stdout.splitlines() if "::" in line]
    left_out = {f"tests/sandbox/{test}" for test in _NOT_IN_THERE}
    assert left_out <= set(tests)
    return {
        name: [test for test in tests if _is_of(test, suite) and test not in left_out]
        for name, (_, suite) in _MACHINES.items()
    }


def _is_of(test: str, suite: tuple[str, ...]) -> bool:
    file, _, name = test.partition("::")
    return file in suite or f"{file}::{name.partition('[')[0]}" in suite


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    suites = _names()
    metafunc.parametrize(
        ("machine", "test"),
        [
            pytest.param(
                name,
                test,
                id=f"{name} {test.partition('/')[2]}",
                marks=pytest.mark.in_machine(name=name, place=place, test=test),
            )
            for name, (place, _) in _MACHINES.items()
            for test in suites[name]
        ],
    )


def test_in_the_machine(machines: Machines, machine: str, test: str) -> None:
    result = machines.result(machine, test)
    if result.outcome == "skipped":
        pytest.skip(result.text)
    if result.outcome != "passed":
        pytest.fail(f"in the machine, {result.text}", pytrace=False)
