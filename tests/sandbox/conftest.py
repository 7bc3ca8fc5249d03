"""One real sandbox for all tests of this folder, and a check after each that nothing is left.

KHALA_SANDBOX_MODE asks for a mode, and a host that comes up in another one fails. A test that
states what mode `degraded` does not enforce says so by `@pytest.mark.enforced(Unenforced...)`: in
that mode, the executor must say so, too.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from khala.model.enforcement import Mode
from sandbox import Sandbox, SandboxConfig, contain, mounts
from sandbox.host import enter_namespace
from tests.sandbox.harness import (
    BOX_BYTES,
    BOX_INODES,
    MODE,
    SLOTS,
    TMP_BYTES,
    UID_BASE,
    Runner,
    find_nsjail,
    folders,
    leftovers,
)

#: Tests of one mode are no tests of the others; one of those named first runs the second.
collect_ignore = ["test_gaps.py" if MODE is None else "test_degraded.py"]
if MODE is Mode.CGROUP_V1 or MODE is Mode.CGROUP_V2:
    collect_ignore.append("test_gaps.py")
if MODE is Mode.DEGRADED:
    # From here on, pytest is a child of itself.
    contain.contain()


@pytest.fixture(scope="session")
async def runner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runner]:
    folder = tmp_path_factory.mktemp("sandbox")
    # Not below /tmp, which is the jail's own.
    exposed = Path(tempfile.mkdtemp(prefix="khala-test-", dir="/opt"))
    exposed.chmod(0o755)
    (exposed / "sub").mkdir()
    (exposed / "tool").write_text("tool of the operator\n")
    enter_namespace()
    mounts.mount("none", str(exposed / "sub"), "tmpfs", options="mode=1777")
    config = SandboxConfig(
        nsjail=find_nsjail(),
        name=f"test-{os.getpid()}-{secrets.token_hex(3)}",
        slots=SLOTS,
        # pytest's folders have mode 0700, so this also shows that such a place works.
        work_root=str(folder / "work"),
        uid_base=UID_BASE,
        box_bytes=BOX_BYTES,
        box_inodes=BOX_INODES,
        tmp_bytes=TMP_BYTES,
        exposed=(str(exposed),),
        allow_degraded=MODE is Mode.DEGRADED,
    )
    sandbox = await Sandbox.open(config)
    assert MODE is None or sandbox.enforcement.mode is MODE
    yield Runner(sandbox, config, folder, exposed)
    await sandbox.close()
    mounts.unmount(str(exposed / "sub"))
    shutil.rmtree(exposed)
    assert config.name not in Path("/proc/self/mounts").read_text()
    assert leftovers(config) == []
    assert folders(config) == []


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    if "runner" not in request.fixturenames:
        yield
        return
    runner: Runner = request.getfixturevalue("runner")
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert leftovers(runner.config) == []
    assert len(os.listdir("/proc/self/fd")) == before, "file descriptors were left open"


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
