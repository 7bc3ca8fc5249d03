"""One Khala for the tests that only use it; tests that break something start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import PEX, Khala, running


@pytest.fixture(scope="session", autouse=True)
def the_file() -> None:
    assert PEX.exists(), f"{PEX} is missing: build/test builds it, or run build/up once"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Khala]:
    with running(tmp_path_factory.mktemp("shared") / "data") as khala:
        yield khala


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Khala]:
    with running(tmp_path / "data") as khala:
        yield khala
