"""A node's data directory: made, checked, locked, and never shared by accident.

The lock is held by the supervisor and inherited by its databases. So a second supervisor can tell
the two cases apart that look alike: another Khala is running here (refuse), or the last one was
killed and its databases are still closing their files (wait for them).
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.ids import mint_nonce

#: mongod needs up to fifteen seconds to shut down cleanly.
ORPHANS_S = 30.0
_FLAG = "--data-dir"
#: Where a restore collects what becomes `mongodb` when it is whole.
RESTORING = "mongodb.restoring"


class Node(Struct, frozen=True, kw_only=True):
    """`node.json`: who this node is; written once, and again by a recovery."""

    cluster: str
    name: str
    #: It was taken into a cluster that others had made.
    joined: bool = False
    #: How many times the cluster has lost its majority and was recovered, as far as this data goes.
    #: What is of an earlier one must never meet what is of a later.
    epoch: int = 0


def make_dir(path: Path) -> Path:
    """Create a private directory, or check that the one that is there is ours to write."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = path.stat().st_uid
        if owner != os.geteuid():
            raise Rejected(
                f"{_FLAG}: {path} belongs to user {owner}, this process is user {os.geteuid()};"
                " change its owner or give another directory",
                field=_FLAG,
            )
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Rejected(
            f"{_FLAG}: {path} cannot be written: {error.strerror}; give another directory",
            field=_FLAG,
        ) from error
    return path


def lock_dir(path: Path) -> int:
    """Take the directory; the descriptor keeps it until every process that inherited it ended."""
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + ORPHANS_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(lock)
            if holder is None and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            os.close(lock)
            who = f"process {holder}" if holder else "a database that an earlier run has left"
            raise Rejected(
                f"{_FLAG}: {path} is in use by {who}; stop it or give another directory",
                field=_FLAG,
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} {_start_time(os.getpid())}".encode(), 0)
        return lock


def _holder(lock: int) -> int | None:
    """The supervisor that wrote the file, if it is alive."""
    pid, _, start_time = os.pread(lock, 100, 0).decode(errors="replace").partition(" ")
    if not pid.isdigit() or _start_time(int(pid)) != start_time:
        return None
    return int(pid)


def _start_time(pid: int) -> str | None:
    """In ticks since boot: with it, a number that was given to another process is not mistaken."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[19]


def has_node(path: Path) -> bool:
    """This directory belongs to a cluster already."""
    return (path / "node.json").exists()


def has_joined(path: Path) -> bool:
    """It was taken into a cluster that others had made."""
    file = path / "node.json"
    return file.exists() and msgspec.json.decode(file.read_bytes(), type=Node).joined


def keep_node(path: Path, node: Node) -> None:
    _write_durably(path / "node.json", msgspec.json.encode(node))


def load_node(path: Path, name: str) -> Node:
    """This node's identity; made at the first start, never changed afterwards."""
    file = path / "node.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Node)
    except FileNotFoundError:
        pass
    except (OSError, msgspec.MsgspecError) as error:
        raise Rejected(
            f"{_FLAG}: {file} cannot be read ({error}); restore it from a backup", field=_FLAG
        ) from error
    unfinished = path / RESTORING
    for data in (path / "etcd" / "member", path / "mongodb" / "WiredTiger", unfinished):
        if data.exists():
            raise Rejected(
                f"{_FLAG}: {path} has a cluster's data ({data}) but no {file.name} to say which;"
                " restore the file from a backup or give an empty directory",
                field=_FLAG,
            )
    node = Node(cluster=mint_nonce(), name=name)
    try:
        _write_durably(file, msgspec.json.encode(node))
    except OSError as error:
        raise Rejected(
            f"{_FLAG}: {file} cannot be written: {error.strerror}", field=_FLAG
        ) from error
    return node


def keep_member_address(path: Path, address: str) -> None:
    """A replica set knows its members by address: refuse to start this one under another, where
    it would wait for a primary for ever. Written at the first start."""
    file = path / "mongodb" / "member"
    try:
        known = file.read_text()
    except FileNotFoundError:
        _write_durably(file, address.encode())
        return
    host, _, port = known.rpartition(":")
    if known != address:
        flag = "--mongodb-port" if address.rpartition(":")[0] == host else "--advertise"
        raise Rejected(
            f"{flag}: the data in {path} belongs to a replica set that knows this member"
            f" as {known}; start with {flag} {port if flag == '--mongodb-port' else host},"
            " or give another --data-dir",
            field=flag,
        )


def _write_durably(file: Path, content: bytes) -> None:
    """All of it or nothing, and after a power cut still: without its identity the data is lost."""
    draft = file.with_suffix(".new")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
