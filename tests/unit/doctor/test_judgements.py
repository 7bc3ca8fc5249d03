"""What each check makes of good and of bad findings."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from khala.model.errors import Rejected
from khala.model.limits import MIB
from khala.protocol.doctor import Level
from khala.supervise.probes import require_free
from roles.doctor import disk, machine, servers
from roles.doctor.disk import Mount
from roles.doctor.finding import Finding, good, missing, warning, worst
from roles.doctor.servers import Listener

_GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("finding", "level", "found", "repair"),
    [
        pytest.param(
            machine.judge_python((3, 11), "3.11.7"), Level.GOOD, "3.11.7", None, id="python"
        ),
        pytest.param(
            machine.judge_python((3, 9), "3.9.2"),
            Level.MISSING,
            "3.9.2: 3.11 to 3.13 is needed",
            "apt-get install python3",
            id="old python",
        ),
        pytest.param(
            machine.judge_kernel("6.18.44-fc", "x86_64"),
            Level.GOOD,
            "Linux 6.18.44-fc, x86_64",
            None,
            id="kernel",
        ),
        pytest.param(
            machine.judge_kernel("6.1-rc1", "x86_64"), Level.GOOD, "6.1-rc1", None, id="rc kernel"
        ),
        pytest.param(
            machine.judge_kernel("5.10.0-9-amd64", "x86_64"),
            Level.WARNING,
            "before 5.19",
            None,
            id="a kernel that measures less",
        ),
        pytest.param(
            machine.judge_kernel("4.19.0-21-amd64", "x86_64"),
            Level.MISSING,
            "5.3 or later is needed",
            "upgrade",
            id="old kernel",
        ),
        pytest.param(
            machine.judge_kernel("6.1.0", "aarch64"),
            Level.MISSING,
            "aarch64: the servers inside the file are for x86_64",
            None,
            id="another architecture",
        ),
        pytest.param(
            machine.judge_memory(8 * _GIB, 0, 4, _GIB),
            Level.GOOD,
            "8.0 GiB, swap off",
            None,
            id="memory",
        ),
        pytest.param(
            machine.judge_memory(4 * _GIB, _GIB, 8, 512 * MIB),
            Level.WARNING,
            "4.0 GiB, swap 1.0 GiB: 8 slots of up to 512 MiB",
            "--slots 6",
            id="too many slots",
        ),
        pytest.param(
            machine.judge_memory(_GIB, 0, 1, 512 * MIB),
            Level.WARNING,
            "do not fit",
            "a host with more memory",
            id="no slot fits",
        ),
        pytest.param(machine.judge_clock(0x2001), Level.GOOD, "synchronised", None, id="clock"),
        pytest.param(
            machine.judge_clock(0x0040),
            Level.WARNING,
            "not synchronised by NTP",
            "timedatectl set-ntp true",
            id="free-running clock",
        ),
        pytest.param(
            disk.judge_space(50 * _GIB, 1_000_000), Level.GOOD, "50.0 GiB free", None, id="space"
        ),
        pytest.param(
            disk.judge_space(50 * _GIB, None), Level.GOOD, "50.0 GiB", None, id="uncounted files"
        ),
        pytest.param(
            disk.judge_space(2 * _GIB, 1_000_000),
            Level.WARNING,
            "2.0 GiB free: MongoDB's own files",
            "--data-dir",
            id="little space",
        ),
        pytest.param(
            disk.judge_space(500 * MIB, 1_000_000),
            Level.MISSING,
            "the executor takes no tasks below 512 MiB",
            "make room",
            id="no space",
        ),
        pytest.param(
            disk.judge_space(50 * _GIB, 9),
            Level.MISSING,
            "room for 9 files only",
            "remove files",
            id="no files",
        ),
        pytest.param(
            disk.judge_sync([1.0] * 19 + [30.0]),
            Level.GOOD,
            "p50 1.0 ms, p99 30.0 ms over 20 writes",
            None,
            id="fast disk",
        ),
        pytest.param(
            disk.judge_sync([25.0]), Level.WARNING, "p50 25.0 ms", "(SSD)", id="slow disk"
        ),
        pytest.param(
            disk.judge_data_dir("/d", Mount(point="/", kind="ext4", options=("rw",))),
            Level.GOOD,
            "/d, on ext4",
            None,
            id="data directory",
        ),
        pytest.param(
            disk.judge_data_dir("/d", Mount(point="/d", kind="tmpfs", options=("rw",))),
            Level.WARNING,
            "gone after a restart",
            "--data-dir",
            id="data in memory",
        ),
        pytest.param(
            disk.judge_data_dir("/d", Mount(point="/d", kind="nfs4", options=("rw",))),
            Level.WARNING,
            "network file systems",
            "a local --data-dir",
            id="data on a network",
        ),
        pytest.param(
            disk.judge_unpacking("/p", Mount(point="/", kind="ext4", options=("rw",)), True),
            Level.GOOD,
            "/p",
            None,
            id="place to unpack to",
        ),
        pytest.param(
            disk.judge_unpacking("/p", Mount(point="/", kind="ext4", options=("noexec",)), True),
            Level.MISSING,
            "/ is mounted noexec",
            "PEX_ROOT=",
            id="no programs where it unpacks",
        ),
        pytest.param(
            disk.judge_unpacking("/p", Mount(point="/", kind="ext4", options=("ro",)), True),
            Level.WARNING,
            "/p is not writable",
            "PEX_ROOT=",
            id="nothing can be unpacked",
        ),
        pytest.param(
            disk.judge_unpacking("/p", Mount(point="/", kind="ext4", options=("rw",)), False),
            Level.WARNING,
            "/p is not writable",
            "PEX_ROOT=",
            id="another user's unpacked file",
        ),
    ],
)
def test_judgement(finding: Finding, level: Level, found: str, repair: str | None) -> None:
    assert finding.level is level
    assert found in finding.found
    if repair is None:
        assert finding.repair is None
    else:
        assert finding.repair is not None and repair in finding.repair


def test_of_several_things_only_the_bad_ones_are_told() -> None:
    assert worst([good("a"), good("b")]) == good("a; b")
    assert worst([good("a"), warning("b", "mend b")]) == warning("b", "mend b")
    found = worst([missing("a", "mend a"), good("b"), warning("c", "mend c"), missing("d")])
    assert found == missing("a; c; d", "mend a; mend c")


_TABLE = """\
1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
2 1 0:21 / /srv rw,noexec - xfs /dev/sdb rw
3 1 0:22 / /srv/a\\040b ro - tmpfs tmpfs rw
4 2 0:23 / /srv rw - btrfs /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "options"),
    [
        ("/home/x", "ext4", ("rw", "relatime")),
        ("/srv", "btrfs", ("rw",)),
        ("/srvx", "ext4", ("rw", "relatime")),
        ("/srv/a b/c", "tmpfs", ("ro",)),
    ],
)
def test_the_mount_of_a_path(path: str, kind: str, options: tuple[str, ...]) -> None:
    mount = disk.mount_of(Path(path), _TABLE)
    assert (mount.kind, mount.options) == (kind, options)


def _held(port: int, flag: str) -> None:
    raise Rejected(f"{flag}: port {port} cannot be had")


def _free(port: int, flag: str) -> None:
    del port, flag


def test_a_free_port() -> None:
    assert servers.judge_port("--p", 1, None, (), _free) == good("1 is free")


def test_a_port_of_this_khala_is_not_tried() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        listener = Listener(port=1, pid=child.pid, program="cat")
        found = servers.judge_port("--p", 1, listener, [os.getpid()], _held)
        assert child.stdin is not None
        child.stdin.close()
    assert found == good("1 is in use by this Khala")


def test_a_port_of_another_program_is_told_with_the_program() -> None:
    listener = Listener(port=1, pid=os.getpid(), program="nginx")
    found = servers.judge_port("--p", 1, listener, [], _held)
    assert found == missing(
        f"--p: port 1 cannot be had: process {os.getpid()} (nginx)",
        f"kill {os.getpid()}, or another --p",
    )


def test_a_port_whose_holder_may_not_be_seen() -> None:
    listener = Listener(port=1, pid=0, program="?")
    assert servers.judge_port("--p", 1, listener, [], _held).level is Level.MISSING
    # As another user than the Khala that runs here.
    assert servers.judge_port("--p", 1, listener, [7], _held).level is Level.WARNING


def test_a_port_that_the_system_refuses() -> None:
    assert servers.judge_port("--p", 1, None, [], _held) == missing("--p: port 1 cannot be had")


def test_who_listens_is_found() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        (found,) = servers.listeners(frozenset([port]))
        assert (found.port, found.pid) == (port, os.getpid())
        with pytest.raises(Rejected, match=f"--p: port {port} of 127.0.0.1 cannot be had"):
            require_free("127.0.0.1", port, "--p", wait_s=0)
    assert servers.listeners(frozenset([port])) == []
