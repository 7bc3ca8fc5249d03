"""One machine per place, booted when its first test is asked for; all of them at the same time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.machine import Machine, Place


@pytest.fixture(scope="session")
def machines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Place, Machine]]:
    """A machine has one processor, so two of them use what two tests in turn would leave idle."""
    wanted: dict[Place, list[str]] = {}
    for item in request.session.items:
        for marker in item.iter_markers("in_machine"):
            wanted.setdefault(marker.kwargs["place"], []).append(marker.kwargs["test"])
    started: dict[Place, Machine] = {}
    try:
        for place, tests in wanted.items():
            started[place] = Machine(tmp_path_factory.mktemp(place), place, tests)
        yield started
    finally:
        for machine in started.values():
            machine.stop()
