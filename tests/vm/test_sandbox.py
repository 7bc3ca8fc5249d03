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
#: What depends on cgroups, and so is tested in every place: limits, endings, clean-up.
_EVERYWHERE = (
    _GUEST,
    *(f"tests/sandbox/test_{name}.py" for name in ("limits", "endings", "doctor")),
)
#: In the root of the hierarchy alone, by a machine that is booted when those of the places are
#: through. What a task may see and call does not depend on the place.
_PROGRAMS = tuple(f"tests/sandbox/test_{name}.py" for name in ("host", "programs", "exposed"))
_MACHINES = {
    **{place.value: (place, 0, _EVERYWHERE) for place in Place},
    "programs": (Place.ROOT, 1, _PROGRAMS),
}
pytestmark = pytest.mark.timeout(SILENCE_S + 60)


def _names() -> dict[str, list[str]]:
    """The tests of each machine; in another process, because this one is collecting just now."""
    files = {file for *_, suite in _MACHINES.values() for file in suite}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, "-m", "not x86", _GUEST, *sorted(files - {_GUEST})],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    tests = [line for line in found.stdout.splitlines() if "::" in line]
    return {
        name: [test for test in tests if test.partition("::")[0] in suite]
        for name, (*_, suite) in _MACHINES.items()
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    suites = _names()
    metafunc.parametrize(
        ("machine", "test"),
        [
            pytest.param(
                name,
                test,
                id=f"{name} {test.partition('/')[2]}",
                marks=pytest.mark.in_machine(name=name, place=place, wave=wave, test=test),
            )
            for name, (place, wave, _) in _MACHINES.items()
            for test in suites[name]
        ],
    )


def test_in_the_machine(machines: Machines, machine: str, test: str) -> None:
    result = machines.get(machine).result(test)
    if result.outcome == "skipped":
        pytest.skip(result.text)
    if result.outcome != "passed":
        pytest.fail(f"in the machine, {result.text}", pytrace=False)
