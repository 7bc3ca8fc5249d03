"""The folder of cgroups that belongs to one sandbox: made, locked, and swept of an earlier life.

It is locked for as long as a sandbox of that name, or the guardian of one, lives. That is why a
sweep may kill whatever it finds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import suppress

from khala.model.errors import Rejected, Unavailable
from sandbox.group import Leaf

PARENT = "khala"
LOCK_WAIT_S = 10.0
_SWEEP_S = 10.0
_SWEEP_STEP_S = 0.005


def make_and_lock(folders: Iterable[str], locked: str, name: str) -> int:
    """Make the folders and lock one of them, waiting a moment for a predecessor's guardian.

    That guardian removes the folders, the locked one last: a lock on a folder that is not the one
    at its path any more is a lock on nothing.
    """
    folders = tuple(folders)
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        _make(folders)
        fd = os.open(locked, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _make(folders)
            if os.path.samestat(os.fstat(fd), os.stat(locked)):
                return fd
        os.close(fd)
        if time.monotonic() > deadline:
            raise Rejected(
                f"--name: another sandbox named {name} is open on this host; stop it or choose"
                " another name",
                field="--name",
            )
        time.sleep(0.02)


def _make(folders: tuple[str, ...]) -> None:
    for folder in folders:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise Rejected(
                f"cannot make the cgroup {folder} ({error.strerror}){_repair(folders, error)}"
            ) from error


def _repair(folders: tuple[str, ...], error: OSError) -> str:
    """Containers are shown their hierarchies read-only: by the mount, so it alone is changed."""
    if error.errno != errno.EROFS:
        return "; its hierarchy must be writable"
    commands = dict.fromkeys(f"mount -o remount,bind,rw {_mount_of(each)}" for each in folders)
    return f"; repair with: {' && '.join(commands)}"


def _mount_of(path: str) -> str:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def sweep(leaves: Iterable[Leaf]) -> None:
    """Kill and remove every leaf. Raises Unavailable when one cannot be emptied."""
    deadline = time.monotonic() + _SWEEP_S
    for leaf in leaves:
        while not leaf.try_remove():
            if time.monotonic() > deadline:
                raise Unavailable(f"the cgroup {leaf.name} of an earlier life cannot be emptied")
            leaf.kill_all()
            time.sleep(_SWEEP_STEP_S)


def has_swap() -> bool:
    with open("/proc/swaps") as swaps:
        return len(swaps.readlines()) > 1
