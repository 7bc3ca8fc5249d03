"""Every test ends with nothing unsaid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.core.desk import Desk
from tests.unit.core.rig import Rig


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.crash()  # closes the flows that still wait
    desk.nothing_left()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.nothing_left()
