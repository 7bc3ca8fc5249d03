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


class Node(Struct, frozen=True, kw_only=True):
    """`node.json`: who this node is; written once."""

    cluster: str
    name: str


def make_dir(path: Path) -> Path:
    """Create a private directory, or check the one that is there."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
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
            who = f"process {holder}" if holder else "a database of an earlier run"
            raise Rejected(
                f"{_FLAG}: {path} is in use by {who}; stop it or give another directory",
                field=_FLAG,
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        return lock


def _holder(lock: int) -> int | None:
    """The supervisor that wrote the file, if it is alive."""
    text = os.pread(lock, 20, 0)
    if not text.isdigit():
        return None
    pid = int(text)
    return pid if Path(f"/proc/{pid}").exists() else None


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
    node = Node(cluster=mint_nonce(), name=name)
    draft = file.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(node))
    draft.replace(file)
    return node
