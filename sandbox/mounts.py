"""Mounting by system call, in a mount namespace that belongs to this process alone.

The namespace is what makes leftovers impossible: when the last process in it is gone, so is every
mount, however the process ended. `unshare` acts on the calling thread only, and a child inherits
the namespace of the thread that starts it. So `enter_namespace` must be called by the main thread
before other threads exist that mount or start jails; later threads inherit it.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from pathlib import Path

RDONLY = 1
NOSUID = 2
NODEV = 4
NOEXEC = 8
REMOUNT = 32
BIND = 4096
RECURSIVE = 16384
SLAVE = 1 << 19
_CLONE_NEWNS = 0x00020000
_DETACH = 2
_NOFOLLOW = 8
#: Options of a mount that a remount must repeat, or it would clear them.
_OPTION_FLAGS = {
    "nosuid": NOSUID,
    "nodev": NODEV,
    "noexec": NOEXEC,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.unshare.argtypes = [ctypes.c_int]

#: The process that has its own namespace, if it is this one; a forked child has to ask again.
_entered_by: list[int] = []


def enter_namespace() -> bool:
    """Give this process its own mount namespace; False, and nothing done, the second time.

    Raises OSError without CAP_SYS_ADMIN, RuntimeError outside the main thread. Mounts that the
    host makes later still appear (slave), ours never reach the host.
    """
    if _entered_by == [os.getpid()]:
        return False
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("the mount namespace must be entered by the main thread")
    unshare(_CLONE_NEWNS)
    mount("none", "/", flags=RECURSIVE | SLAVE)
    _entered_by[:] = [os.getpid()]
    return True


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def mount(
    source: str, target: str, fstype: str | None = None, *, flags: int = 0, options: str = ""
) -> None:
    """mount(2). Raises OSError naming the target."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        fstype.encode() if fstype else None,
        flags,
        options.encode() or None,
    )
    _check(result, target)


def unmount(target: str) -> None:
    """Detach at once; the contents are freed when the last open file is closed."""
    _check(_libc.umount2(os.fsencode(target), _DETACH | _NOFOLLOW), target)


def bind_read_only(source: str, target: str) -> None:
    """Show `source` and everything mounted below it at `target`, all of it read-only.

    A read-only remount is not recursive: without the walk a file system mounted below `source`
    would stay writable.
    """
    mount(source, target, flags=BIND | RECURSIVE)
    for path, options in _mounts_below(target):
        flags = REMOUNT | BIND | RDONLY | NOSUID | NODEV
        for option in options:
            flags |= _OPTION_FLAGS.get(option, 0)
        mount("none", path, flags=flags)


def cover(path: str, *, leave_out: tuple[str, ...]) -> None:
    """Put a writable file system of our own over a directory, and show in it what was there."""
    below = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mount("khala", path, "tmpfs", flags=NOSUID | NODEV, options="mode=0755,size=1m")
        for entry in os.scandir(f"/proc/self/fd/{below}"):
            target = f"{path}/{entry.name}"
            if entry.name in leave_out:
                continue
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
                continue
            if entry.is_dir():
                os.mkdir(target)
            else:
                Path(target).touch()
            mount(entry.path, target, flags=BIND | RECURSIVE)
    finally:
        os.close(below)


def mount_points(prefix: str) -> list[str]:
    """Every mount at or below `prefix`, the deepest first."""
    return sorted((path for path, _ in _mounts_below(prefix)), key=len, reverse=True)


def _mounts_below(prefix: str) -> list[tuple[str, list[str]]]:
    found = []
    for line in Path("/proc/thread-self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        # Spaces, tabs, newlines and backslashes in paths are written as octal.
        path = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), fields[4]))
        if path == prefix or path.startswith(prefix + "/"):
            found.append((path, fields[5].decode().split(",")))
    return found


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
