"""What tasks and killed executors could have left on a host, looked for everywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SLOTS_MAX = 64


def sandbox_name(data_dir: Path, name: str = "executor") -> str:
    """As the executor forms it, without its own name."""
    return hashlib.sha256(str(data_dir).encode()).hexdigest()[:8]


def leftovers(data_dir: Path, uid_base: int) -> list[str]:
    """Call it when Khala is down."""
    name = sandbox_name(data_dir)
    found = [*_processes(uid_base), *_mounts(uid_base, name), *_loops(data_dir)]
    for top in ("/sys/fs/cgroup", "/run/khala"):
        found += [str(path) for path in Path(top).glob(f"**/*-{name}")]
    for folder in ("attempts", "spool", "work", "boxes"):
        found += [
            str(path) for path in (data_dir / "executor" / folder).glob("**/*") if path.is_file()
        ]
    places = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/opt", "/home", str(data_dir)]
    command = ["find", *filter(os.path.isdir, places), "-xdev", "-uid", f"+{uid_base - 1}"]
    command += ["-uid", f"-{uid_base + _SLOTS_MAX}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found += listed.splitlines()
    for kind in ("shm", "sem", "msg"):
        for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]:
            if any(_ours(int(word), uid_base) for word in line.split()):
                found.append(f"{kind} {line}")
    return found


def _ours(uid: int, uid_base: int) -> bool:
    return uid_base <= uid < uid_base + _SLOTS_MAX


def _entries() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _processes(uid_base: int) -> list[str]:
    found = []
    for entry in _entries():
        try:
            if _ours(entry.stat().st_uid, uid_base):
                found.append(f"process {entry.name} {(entry / 'stat').read_text()[:60]}")
        except OSError:
            continue
    return found


def _mounts(uid_base: int, name: str) -> list[str]:
    """In every mount namespace that a process is in."""
    found: set[str] = set()
    seen: set[str] = set()
    for entry in _entries():
        try:
            namespace = os.readlink(entry / "ns" / "mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            lines = (entry / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        uids = [f"uid={uid_base + slot}," for slot in range(_SLOTS_MAX)]
        found |= {line for line in lines if name in line or any(uid in line for uid in uids)}
    return sorted(found)


def _loops(data_dir: Path) -> list[str]:
    backing = Path("/sys/block").glob("loop*/loop/backing_file")
    return [str(one) for one in backing if str(data_dir) in one.read_text()]
