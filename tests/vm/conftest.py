"""One machine for each suite, booted in waves when the first test of a wave is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.vm.machine import Machine, Place


@dataclass
class Wanted:
    place: Place
    wave: int
    tests: list[str] = field(default_factory=list)


class Machines:
    """A machine has one processor, so those of one wave run side by side and use what tests in turn
    would leave idle. More than three at a time would only take the time from each other."""

    def __init__(self, folder: Path, wanted: dict[str, Wanted]) -> None:
        self._folder = folder
        self._wanted = wanted
        self._booted: dict[str, Machine] = {}

    def get(self, name: str) -> Machine:
        if name not in self._booted:
            wave = self._wanted[name].wave
            for other, wanted in self._wanted.items():
                if wanted.wave == wave:
                    folder = self._folder / other
                    self._booted[other] = Machine(folder, wanted.place, wanted.tests)
        return self._booted[name]

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
            name, place, wave, test = (
                marker.kwargs[each] for each in ("name", "place", "wave", "test")
            )
            wanted.setdefault(name, Wanted(place, wave)).tests.append(test)
    started = Machines(tmp_path_factory.mktemp("machines"), wanted)
    yield started
    started.stop()
