"""What the other tests in the machine take for granted. It is run there only, hence its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.sandbox.harness import find_nsjail

_MOUNT = "/sys/fs/cgroup"


def _own_group() -> Path:
    (line,) = Path("/proc/self/cgroup").read_text().splitlines()
    assert line.startswith("0::/")
    return Path(_MOUNT + line.removeprefix("0::"))


def test_the_place_is_the_one_that_was_asked_for() -> None:
    place = os.environ["place"]  # noqa: SIM112 - the kernel's command line has it so
    assert os.geteuid() == (1000 if place == "delegated" else 0)
    inside = "" if place == "root" else "/system.slice/khala.service"
    assert str(_own_group()) == f"{_MOUNT}{inside}".rstrip("/")
    if place == "delegated":
        assert _own_group().stat().st_uid == 1000


def test_the_hierarchy_is_pure_v2() -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    groups = [(fields[2], fields[1]) for fields in mounts if fields[2].startswith("cgroup")]
    assert groups == [("cgroup2", _MOUNT)]
    controllers = (_own_group() / "cgroup.controllers").read_text().split()
    assert {"cpu", "memory", "pids"} <= set(controllers)


def test_a_group_can_be_made_beside_the_processes_of_the_service() -> None:
    group = _own_group() / "throw-away"
    group.mkdir()
    try:
        assert (group / "cgroup.procs").read_text() == ""
    finally:
        group.rmdir()


def test_the_doctor_gives_the_group_back(tmp_path: Path) -> None:
    def look() -> tuple[set[str], list[str], list[str]]:
        group = _own_group()
        pids = (group / "cgroup.procs").read_text().split()
        # Threads of the kernel, which come and go in the topmost group, have no arguments.
        users = {pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes()}
        handed_down = (group / "cgroup.subtree_control").read_text().split()
        return users, handed_down, sorted(path.name for path in group.iterdir())

    before = look()
    command = [sys.executable, "-m", "khala", "doctor", "--role", "executor"]
    ran = subprocess.run(
        [*command, "--data-dir", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
    assert look() == before


def test_python_can_start_itself() -> None:
    subprocess.run([sys.executable, "-c", "import msgspec"], check=True)


def test_nsjail_runs() -> None:
    argv = [find_nsjail(), "-Mo", "-q", "--disable_clone_newcgroup"]
    for folder in ("/usr", "/bin", "/lib", "/lib64"):
        argv += ["-R", folder]
    ran = subprocess.run(
        [*argv, "--", "/bin/sh", "-c", "echo $$"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "1\n"


def test_the_host_cannot_be_written_to() -> None:
    assert os.statvfs("/").f_flag & os.ST_RDONLY
    assert os.statvfs("/run/repository").f_flag & os.ST_RDONLY
