"""Mode `degraded`, from outside: the suite without rights, and the end of all its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from khala.model.enforcement import Mode
from khala.model.outcome import Reason
from sandbox import SandboxConfig
from tests.sandbox.harness import PATIENCE_S, UID_BASE, find_nsjail, wait_for

_ROOT = Path(__file__).parents[2]
_SUITE = tuple(
    f"tests/sandbox/test_{name}.py"
    for name in ("gaps", "bare", "endings", "host", "isolation", "limits", "programs", "unpack")
)
#: What needs root besides, and what root without cgroups must be as good at as with them: keeping
#: files and system calls from tasks.
_SUITE_OF_ROOT = (
    *_SUITE,
    *(f"tests/sandbox/test_{name}.py" for name in ("exposed", "images")),
    *(f"tests/sandbox/attacks/test_{name}.py" for name in ("calls", "files", "service_files")),
)
_UID = UID_BASE + 190
#: What hides from a parent's death, and from signals.
_COMMAND = (
    "python3 -c 'import ctypes, os, time;"
    " os.fork() or (os.setsid(), ctypes.CDLL(None).prctl(1, 0), time.sleep(700))' & sleep 700"
)


@pytest.fixture
def folder() -> Iterator[str]:
    """Of the user without rights, where that user can reach it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as made:
        os.chown(made, _UID, _UID)
        yield made


def _unprivileged(folder: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.sandbox.unprivileged", folder, *arguments]


def _as_root_without_cgroups(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.sandbox.groupless", *arguments]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("root", [False, True], ids=["without rights", "as root"])
def test_the_suite_without_cgroups(folder: str, root: bool) -> None:
    pytest_of = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    ran = subprocess.run(
        _as_root_without_cgroups(*pytest_of, *_SUITE_OF_ROOT)
        if root
        else _unprivileged(folder, *pytest_of, *_SUITE),
        cwd=_ROOT,
        env={**os.environ, "KHALA_SANDBOX_MODE": Mode.DEGRADED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-4000:]
    assert " passed" in ran.stdout


@pytest.mark.parametrize("root", [False, True], ids=["without rights", "as root"])
def test_it_is_refused_unless_it_is_allowed(folder: str, root: bool) -> None:
    life = _life(allow_degraded=False, command="true")
    ran = subprocess.run(
        _as_root_without_cgroups(*life) if root else _unprivileged(folder, *life),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    why = "Read-only file system" if root else "without root there is no cgroup v1"
    for words in (why, "shared memory", "--allow-degraded"):
        assert words in ran.stderr


@pytest.mark.parametrize("which", [0, 1, 2], ids=["who waits", "process 1", "the service"])
def test_nothing_survives_the_killing_of_any_of_its_processes(folder: str, which: int) -> None:
    """One waits outside of the namespace, one is its first process, one is the service."""
    process = subprocess.Popen(
        _unprivileged(folder, *_life(allow_degraded=True, command=_COMMAND)),
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: _running("sleep") and _running("python3"), "the command does not run")
        waiting = [process.pid]
        waiting += _children(waiting[-1])
        waiting += _children(waiting[-1])
        assert len(waiting) == 3
        os.kill(waiting[which], signal.SIGKILL)
        wait_for(lambda: not _of_user() - {process.pid}, "something survived")
    finally:
        process.kill()
        process.wait()
    assert not _of_user()
    assert not list(Path("/run/khala").glob("test-degraded"))


def test_the_end_of_the_service_is_the_end_of_who_waits(folder: str) -> None:
    with subprocess.Popen(
        _unprivileged(folder, *_life(allow_degraded=True, command="echo $KHALA; exit 3")),
        cwd=_ROOT,
        stdout=subprocess.PIPE,
    ) as process:
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert output.count(b'"exit_nonzero"') == 2 == output.count(Reason.EXIT_NONZERO.encode())
    assert not _of_user()


def _life(*, allow_degraded: bool, command: str) -> tuple[str, ...]:
    config = SandboxConfig(
        nsjail=find_nsjail(),
        name="test-degraded",
        slots=1,
        uid_base=UID_BASE + 180,
        allow_degraded=allow_degraded,
    )
    encoded = msgspec.json.encode(config).decode()
    return ("-m", "tests.sandbox.life", encoded, "uvloop", command)


def _of_user() -> set[int]:
    """Living processes of the user without rights."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == _UID:
                found.add(int(entry.name))
    return found


def _running(name: str) -> list[int]:
    found = []
    for pid in _of_user():
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return found


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
