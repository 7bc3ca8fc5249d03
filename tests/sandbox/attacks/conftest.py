"""After every attack: the host is as it was, and the slot serves the next honest task."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from khala.model.limits import MIB
from khala.model.outcome import Reason
from tests.sandbox.attacks.host import MARK, differences, fingerprint
from tests.sandbox.attacks.probe import PROBE
from tests.sandbox.harness import PACE, Runner

_CLEAN = ["honest", ".:", "data", "execute.sh", "f", "/dev/shm:", "/tmp:"]


@pytest.fixture(scope="session")
def sentinel() -> Iterator[Path]:
    """Files of the host that anybody who gets to them may change."""
    top = Path(tempfile.mkdtemp(prefix=f"{MARK}-host-", dir="/opt"))
    top.chmod(0o777)
    (top / "public").write_text("secret of the host\n")
    (top / "public").chmod(0o666)
    (top / "private").write_text("secret of the host\n")
    (top / "private").chmod(0o600)
    (top / "program").write_text("#!/bin/sh\necho secret of the host\n")
    (top / "program").chmod(0o4755)
    (top / "folder").mkdir()
    (top / "folder").chmod(0o777)
    os.mkfifo(top / "fifo", 0o666)
    yield top
    shutil.rmtree(top)


@pytest.fixture(scope="session", autouse=True)
def compiled_probe() -> Iterator[None]:
    yield
    PROBE.remove()


@pytest.fixture(autouse=True)
async def unharmed(request: pytest.FixtureRequest, sentinel: Path) -> AsyncIterator[None]:
    if "runner" not in request.fixturenames:  # it unpacks archives outside of any jail
        yield
        return
    runner: Runner = request.getfixturevalue("runner")
    await runner.until_warm()
    before = fingerprint(runner.config, sentinel)
    yield
    # Where a jail takes long, the slot that was attacked must do.
    for slot in range(runner.config.slots if PACE == 1 else 1):
        ran = await runner.run(
            "echo honest > f; cat f; ls -A . /tmp /dev/shm", slot=slot, memory_bytes=16 * MIB
        )
        assert ran.outcome.reason is Reason.OK, ran
        assert ran.text.split() == _CLEAN, ran
    await runner.until_warm()
    after = fingerprint(runner.config, sentinel)
    assert differences(before, after) == []
