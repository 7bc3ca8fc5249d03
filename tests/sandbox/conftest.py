"""One real sandbox for all tests of this folder, and a check after each that nothing is left.

KHALA_SANDBOX_MODE asks for a mode, and a host that comes up in another one fails. A test that
states what mode `degraded` does not enforce says so by `@pytest.mark.enforced(Unenforced...)`: in
that mode, the executor must say so, too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from khala.model.enforcement import Mode
from sandbox import contain
from tests.sandbox.harness import MODE, PATIENCE_S, SLOTS, Runner, open_runner

#: Tests of one mode are no tests of the others; one of those named first runs the second.
collect_ignore = ["test_gaps.py" if MODE is None else "test_degraded.py"]
if MODE is Mode.CGROUP_V1 or MODE is Mode.CGROUP_V2:
    collect_ignore.append("test_gaps.py")
if MODE is Mode.DEGRADED:
    # From here on, pytest is a child of itself.
    contain.contain()


@pytest.fixture(scope="session")
async def runner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runner]:
    """Every slot warm, as on a host with time to spare; `test_cold` has the other one."""
    async with open_runner(tmp_path_factory.mktemp("sandbox"), warm=SLOTS) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def nothing_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    if "runner" not in request.fixturenames:
        yield
        return
    runner: Runner = request.getfixturevalue("runner")
    before = await runner.quiet()
    yield
    # A file may have a sandbox of its own beside this one, whose boxes go in the background.
    deadline = time.monotonic() + PATIENCE_S
    while await runner.quiet() > before:
        assert time.monotonic() < deadline, "file descriptors were left open"
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def stated_gaps(request: pytest.FixtureRequest) -> None:
    """What is not enforced must be said; what is not said must be enforced."""
    marker = request.node.get_closest_marker("enforced")
    if marker is None:
        return
    runner: Runner = request.getfixturevalue("runner")
    unenforced = set(marker.args) & set(runner.sandbox.enforcement.unenforced)
    if runner.sandbox.enforcement.mode is Mode.DEGRADED:
        assert unenforced == set(marker.args)
        pytest.skip(f"this mode says that it does not enforce {', '.join(marker.args)}")
    assert not unenforced


@pytest.fixture
def folder_fd(tmp_path: Path) -> Iterator[Callable[[], int]]:
    opened: list[int] = []

    def open_top() -> int:
        opened.append(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
        return opened[-1]

    yield open_top
    for fd in opened:
        os.close(fd)
