"""The sandbox's own tests, each of which runs in the machines and ends here as it ended there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm.machine import SILENCE_S, Machine, Place

_ROOT = Path(__file__).parents[2]
#: What depends on cgroups: limits, endings, clean-up. What a task may see and call does not, and
#: is tested in one place only; a kernel of its own kind would say little about system calls.
_SUITE = (
    "tests/vm/guest.py",
    *(f"tests/sandbox/test_{name}.py" for name in ("limits", "endings", "doctor")),
)
pytestmark = pytest.mark.timeout(SILENCE_S + 60)


def _names() -> list[str]:
    """The tests of these files; in another process, because this one is collecting just now."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, "-m", "not x86", *_SUITE], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return [line for line in found.stdout.splitlines() if "::" in line]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    suite = _names()
    metafunc.parametrize(
        ("place", "test"),
        [
            pytest.param(
                place,
                test,
                id=f"{place} {test.partition('/')[2]}",
                marks=pytest.mark.in_machine(place=place, test=test),
            )
            for place in Place
            for test in suite
        ],
    )


def test_in_the_machine(machines: dict[Place, Machine], place: Place, test: str) -> None:
    result = machines[place].result(test)
    if result.outcome == "skipped":
        pytest.skip(result.text)
    if result.outcome != "passed":
        pytest.fail(f"in the machine, {result.text}", pytrace=False)
