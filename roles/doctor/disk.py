"""The data directory, its disk, and the place the file is unpacked to."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from khala.config.settings import Settings
from khala.model.limits import MIB
from khala.supervise.datadir import make_dir
from roles.doctor.finding import Finding, good, missing, warning
from roles.executor.host import DISK_RESERVE_BYTES

_GIB = 1024 * MIB
#: MongoDB's log of operations takes 2 GiB, and its journal and a first database the rest.
_COMFORT_BYTES = 5 * _GIB
_FILES_MIN = 10_000
_SYNCS = 20
_SYNC_BUDGET_S = 1.0
_SYNC_BYTES = 4096
#: Above it, a submission waits noticeably for the disk.
_SYNC_SLOW_MS = 10.0
_IN_MEMORY = ("tmpfs", "ramfs")
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs")


class Mount(Struct, frozen=True, kw_only=True):
    """Where a path lies."""

    point: str
    kind: str
    options: tuple[str, ...]


def mount_of(path: Path, table: str) -> Mount:
    """`table` is the text of `/proc/self/mountinfo`; of two mounts on one point, the later."""
    found = None
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        longer = found is None or len(point) >= len(found.point)
        if path.is_relative_to(point) and longer:
            found = Mount(point=point, kind=kind[0], options=tuple(fields[5].split(",")))
    return found or Mount(point="/", kind="unknown", options=())


def _mount(path: Path) -> Mount:
    return mount_of(path.resolve(), Path("/proc/self/mountinfo").read_text())


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def check_data_dir(settings: Settings) -> Finding:
    path = Path(settings.data_dir).absolute()
    mount = _mount(_existing(path))
    if path.exists():
        make_dir(path)
        return judge_data_dir(str(path), mount)
    above = _existing(path)
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        return missing(
            f"{path} does not exist and cannot be made: {above} is not writable for user"
            f" {os.geteuid()}",
            f"as root: install -d -m 700 -o {os.geteuid()} {path}; or give another --data-dir",
        )
    return judge_data_dir(f"{path} (made at the first start)", mount)


def judge_data_dir(path: str, mount: Mount) -> Finding:
    found = f"{path}, on {mount.kind}"
    if mount.kind in _IN_MEMORY:
        return warning(f"{found}: it is gone after a restart of the host", "another --data-dir")
    if mount.kind in _REMOTE:
        return warning(
            f"{found}: MongoDB is not made for network file systems", "a local --data-dir"
        )
    return good(found)


def check_space(settings: Settings) -> Finding:
    path = _existing(Path(settings.data_dir).absolute())
    space = os.statvfs(path)
    files = space.f_favail if space.f_files else None
    return judge_space(space.f_bavail * space.f_frsize, files)


def judge_space(free: int, files: int | None) -> Finding:
    """`files`: None where the file system does not count them."""
    found = f"{free / _GIB:.1f} GiB free"
    if files is not None and files < _FILES_MIN:
        return missing(f"{found}, but room for {files} files only", "remove files")
    if free < 2 * DISK_RESERVE_BYTES:
        return missing(
            f"{found}: the executor takes no tasks below {2 * DISK_RESERVE_BYTES // MIB} MiB",
            "make room, or give another --data-dir",
        )
    if free < _COMFORT_BYTES:
        return warning(
            f"{found}: MongoDB's own files take up to 3 GiB", "make room, or another --data-dir"
        )
    return good(found)


def check_sync(settings: Settings) -> Finding:
    """The journal's way to the disk; one second at the most."""
    times: list[float] = []
    started = time.monotonic()
    with tempfile.TemporaryFile(dir=_existing(Path(settings.data_dir).absolute())) as file:
        while len(times) < _SYNCS and time.monotonic() - started < _SYNC_BUDGET_S:
            began = time.perf_counter()
            os.write(file.fileno(), bytes(_SYNC_BYTES))
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return judge_sync(times)


def judge_sync(times_ms: list[float]) -> Finding:
    ordered = sorted(times_ms)
    middle, last = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    found = f"p50 {middle:.1f} ms, p99 {last:.1f} ms over {len(ordered)} writes"
    if middle > _SYNC_SLOW_MS:
        return warning(
            f"{found}: every accepted task waits for one", "a --data-dir on a faster disk (SSD)"
        )
    return good(found)


def check_unpacking(_: Settings) -> Finding:
    """PEX unpacks the file below PEX_ROOT at its first start and runs programs from there."""
    prefix = Path(sys.prefix)
    if "PEX" not in os.environ or "venvs" not in prefix.parts:
        return good(f"not needed: run from {prefix}")
    root = Path(*prefix.parts[: prefix.parts.index("venvs")])
    return judge_unpacking(str(root), _mount(root), os.access(root, os.W_OK | os.X_OK))


def judge_unpacking(root: str, mount: Mount, writable: bool) -> Finding:
    repair = "PEX_ROOT=DIRECTORY in the environment, on a disk that allows programs"
    if "noexec" in mount.options:
        return missing(f"{root}: {mount.point} is mounted noexec", repair)
    if not writable or "ro" in mount.options:
        return warning(f"{root} is not writable: the next version cannot be unpacked", repair)
    return good(root)
