"""What the other tests in the machine take for granted. It is run there only, hence its name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.sandbox.harness import find_nsjail

_MOUNT = "/sys/fs/cgroup"


def _own_group() -> Path:
    (line,) = Path("/proc/self/cgroup").read_text().splitlines()
    assert line.startswith("0::/")
    return Path(_MOUNT + line.removeprefix("0::"))


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
