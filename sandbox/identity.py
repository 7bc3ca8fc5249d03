"""What tells one set of programs from another: the part of a compilation that its inputs are not.

A compiler's output may be kept and given out again only for the very toolchain that made it. Two
kinds are told apart by two means, because reading every byte of a system takes minutes:

- A *tree* is known by the names, modes, sizes and dates of all its files. A copy that keeps the
  dates (`rsync -a`, `cp -a`, a package unpacked again) is the same tree on every host.
- The *host* has too many files even for that. Its package database changes with every package;
  what no package manager looks after (`/usr/local`, `/etc/alternatives`, exposed directories) and
  the programs on PATH are looked at as trees.

A file whose bytes were changed and whose size and date were set back is not noticed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence

from msgspec import Struct

_PACKAGES = (
    "/var/lib/dpkg/status",
    "/var/lib/rpm",
    "/usr/lib/sysimage/rpm",
    "/lib/apk/db/installed",
    "/var/lib/pacman/local",
)
_UNPACKAGED = ("/usr/local", "/etc/alternatives", "/usr/bin", "/usr/sbin", "/bin", "/sbin")
DIGITS = 32
#: How old the host's identity may be, and how many times as long as it takes to find out.
_FRESH_S = 10.0
_FRESH_FACTOR = 50


class Tree(Struct, frozen=True, kw_only=True):
    """What a walk over a directory found."""

    identity: str
    size_bytes: int


def tree_of(top: str) -> Tree:
    """Look at every file below `top`, across mounts; symlinks are not followed."""
    size = 0
    rows: list[bytes] = []
    for name, found in _files_below(top):
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFLNK:
            try:
                facts = os.readlink(os.path.join(top, name))
            except OSError:  # a package is being upgraded; the next look sees the new one
                continue
        elif kind == stat.S_IFREG:
            facts = f"{found.st_size} {found.st_mtime_ns}"
            size += found.st_size
        else:
            facts = ""
        rows.append(os.fsencode(f"{name}\0{found.st_mode:o}\0{facts}\0"))
    return Tree(identity=_digest(rows), size_bytes=size)


def identity_of_host(exposed: Sequence[str]) -> str:
    """Of the programs that a jail without an image sees; `exposed` are whole trees."""
    rows = []
    for path in _PACKAGES:
        try:
            found = os.stat(path)
        except OSError:
            continue
        rows.append(os.fsencode(f"{path}\0{found.st_size} {found.st_mtime_ns}\0"))
    trees = [path for path in _UNPACKAGED if os.path.isdir(path) and not os.path.islink(path)]
    rows += [os.fsencode(f"{path}\0{tree_of(path).identity}\0") for path in (*trees, *exposed)]
    return _digest(rows)


class HostIdentity:
    """The host's, looked up again when it is old: packages are installed while tasks run."""

    def __init__(self, exposed: Sequence[str]) -> None:
        self._exposed = tuple(exposed)
        self._looking = asyncio.Lock()
        self._identity = ""
        self._good_until = float("-inf")

    async def get(self) -> str:
        async with self._looking:
            started = time.monotonic()
            if started >= self._good_until:
                self._identity = await asyncio.to_thread(identity_of_host, self._exposed)
                ended = time.monotonic()
                self._good_until = ended + max(_FRESH_S, _FRESH_FACTOR * (ended - started))
            return self._identity


def _files_below(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Names relative to `top`. What vanishes meanwhile is left out."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(os.path.join(top, folder)))
        except OSError:
            continue
        for entry in entries:
            name = os.path.join(folder, entry.name)
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append(name)
            yield name, found


def _digest(rows: list[bytes]) -> str:
    """Independent of the order in which a file system lists its files."""
    return hashlib.sha256(b"".join(sorted(rows))).hexdigest()[:DIGITS]
