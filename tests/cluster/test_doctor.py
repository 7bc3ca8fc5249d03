"""`doctor` out of the file that people copy, where all is there that it needs and where not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from khala.net.ports import free_ports
from khala.protocol.doctor import Level, Report
from tests.cluster.harness import PEX

_PORTS = ("etcd-peer-port", "etcd-client-port", "mongodb-port", "rpc-port", "http-port")
#: What starts it so that the host lacks something.
_WITHOUT_GROUPS = (
    "unshare",
    "-m",
    "sh",
    "-c",
    'mount -t tmpfs -o ro none /sys/fs/cgroup && "$@"',
    "sh",
)
#: As in a container that was given no rights.
_WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


@pytest.mark.parametrize(
    ("before", "missing", "words"),
    [
        ((), [], ()),
        (_WITHOUT_GROUPS, ["cgroups"], ("Read-only file system", "--allow-degraded")),
        (_WITHOUT_RIGHTS, ["trial jail"], ("CAP_SYS_ADMIN", "--cap-add SYS_ADMIN")),
    ],
    ids=["able", "without cgroups", "without rights"],
)
def test_the_packed_doctor_finds_what_is_missing(
    tmp_path: Path, before: tuple[str, ...], missing: list[str], words: tuple[str, ...]
) -> None:
    ports = [f"--{name}={port}" for name, port in zip(_PORTS, free_ports(5), strict=True)]
    ran = subprocess.run(
        [*before, str(PEX), "doctor", "--json", *ports, f"--data-dir={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert ran.stderr == ""
    report = msgspec.json.decode(ran.stdout, type=Report)
    lines = [line for line in report.lines if line.level is Level.MISSING]
    assert [line.check for line in lines] == missing
    assert ran.returncode == (69 if missing else 0)
    for word in words:
        assert word in f"{lines[0].found} {lines[0].repair}"
    assert list(tmp_path.iterdir()) == []
