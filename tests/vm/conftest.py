"""One machine for each suite, in their order, and so many at a time that the host is busy."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.vm.machine import POLL_S, Machine, Place
from tests.vm.report import Result

#: A machine has one processor, of which waiting tests leave some idle.
_AT_ONCE = 1 + (os.cpu_count() or 1)


@dataclass
class Wanted:
    place: Place
    tests: list[str] = field(default_factory=list)


class Machines:
    """Whoever waits for a test boots the next machines meanwhile."""

    def __init__(self, folder: Path, wanted: dict[str, Wanted]) -> None:
        self._folder = folder
        self._waiting = wanted
        self._booted: dict[str, Machine] = {}

    def result(self, name: str, test: str) -> Result:
        """Raises as `Machine.look` does."""
        while True:
            self._boot()
            machine = self._booted.get(name)
            if machine is not None and (found := machine.look(test)) is not None:
                return found
            time.sleep(POLL_S)

    def _boot(self) -> None:
        running = sum(not machine.has_ended for machine in self._booted.values())
        for name in list(self._waiting)[: max(0, _AT_ONCE - running)]:
            wanted = self._waiting.pop(name)
            self._booted[name] = Machine(self._folder / name, wanted.place, wanted.tests)

    def stop(self) -> None:
        for machine in self._booted.values():
            machine.stop()


@pytest.fixture(scope="session")
def machines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machines]:
    wanted: dict[str, Wanted] = {}
    for item in request.session.items:
        for marker in item.iter_markers("in_machine"):
            name, place, test = (marker.kwargs[each] for each in ("name", "place", "test"))
            wanted.setdefault(name, Wanted(place)).tests.append(test)
    started = Machines(tmp_path_factory.mktemp("machines"), wanted)
    yield started
    started.stop()
