"""Looking through a work directory that a task has left, when all its processes are gone.

What a task leaves is hostile: links that lead out, pipes that would block whoever opens them,
trees without end, files of a terabyte that take no space, names of any bytes, folders that nobody
may enter. So every component is opened from the folder above it and nothing is followed, only what
is a plain file after it was opened counts as one, and depth, number and time are bounded. Whoever
walks is told of everything that could not be looked at, because "all" and "all that was found"
are different answers: a cache must not take the second for the first.

Folders are not recursed into but kept on a stack, with one open descriptor each: depth costs
descriptors, and is bounded for that reason.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self, TypeAlias

from msgspec import Struct

from khala.model.outcome import Omission

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: What opening says of an entry that is not what it was when it was looked at, or may not be read.
_NOT_THERE = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR)


class Bounds(Struct, frozen=True, kw_only=True):
    #: Names looked at, of whatever kind.
    entries: int
    #: Folders below the top that are entered.
    depth: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """One entry; usable until the walk goes on."""

    #: Relative to the top: `folder/file`.
    name: bytes
    info: os.stat_result
    folder_fd: int

    @property
    def leaf(self) -> bytes:
        return self.name.rpartition(b"/")[2]

    def open(self) -> int | None:
        """A descriptor of a plain file, for the caller to close; None if it cannot be read as one,
        or is not the one that was looked at."""
        try:
            fd = os.open(self.leaf, _FILE_FLAGS, dir_fd=self.folder_fd)
        except OSError as error:
            if error.errno in (*_NOT_THERE, errno.EACCES, errno.EPERM):
                return None
            raise
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and os.path.samestat(found, self.info):
            return fd
        os.close(fd)
        return None

    def open_folder(self) -> int | None:
        """A descriptor of it as a folder, for the caller to close; None if it cannot be opened."""
        try:
            return os.open(self.leaf, _FOLDER_FLAGS, dir_fd=self.folder_fd)
        except OSError:
            return None

    def read_link(self) -> bytes:
        return os.readlink(self.leaf, dir_fd=self.folder_fd)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something the walk went past: a folder it did not enter, or (NOT_REACHED) all the rest."""

    name: bytes
    why: Omission


@dataclass(slots=True)
class _Open:
    fd: int
    name: bytes
    left: Iterator[bytes]


Seen: TypeAlias = Found | Obstacle


class Walk:
    """The entries below a folder, each folder before what is in it, in the order of names.

    A context manager and an iterator; it keeps a descriptor of its own of the top. `stopped` is
    asked at every entry and ends the walk as running out of time does.
    """

    def __init__(
        self, top_fd: int, bounds: Bounds, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._bounds = bounds
        self._stopped = stopped
        self._deadline = time.monotonic() + bounds.seconds
        self._seen = 0
        self._stack = [_Open(os.dup(top_fd), b"", iter(()))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._stack:
            os.close(self._stack.pop().fd)

    def __iter__(self) -> Iterator[Seen]:
        top = self._stack[0]
        if not self._list(top):
            yield Obstacle(b"", Omission.UNREADABLE)
        while self._stack:
            folder = self._stack[-1]
            leaf = next(folder.left, None)
            if leaf is None:
                os.close(self._stack.pop().fd)
                continue
            name = folder.name + b"/" + leaf if folder.name else leaf
            if self._used_up():
                yield Obstacle(name, Omission.NOT_REACHED)
                return
            yield from self._look(folder.fd, name, leaf)

    def _used_up(self) -> bool:
        self._seen += 1
        return (
            self._seen > self._bounds.entries
            or time.monotonic() > self._deadline
            or self._stopped()
        )

    def _look(self, folder_fd: int, name: bytes, leaf: bytes) -> Iterator[Seen]:
        try:
            info = os.stat(leaf, dir_fd=folder_fd, follow_symlinks=False)
        except OSError:
            yield Obstacle(name, Omission.UNREADABLE)
            return
        yield Found(name, info, folder_fd)
        if stat.S_ISDIR(info.st_mode):
            obstacle = self._enter(folder_fd, name, leaf)
            if obstacle is not None:
                yield Obstacle(name, obstacle)

    def _enter(self, folder_fd: int, name: bytes, leaf: bytes) -> Omission | None:
        if len(self._stack) > self._bounds.depth:
            return Omission.TOO_DEEP
        try:
            below = _Open(os.open(leaf, _FOLDER_FLAGS, dir_fd=folder_fd), name, iter(()))
        except OSError:
            return Omission.UNREADABLE
        self._stack.append(below)
        return None if self._list(below) else Omission.UNREADABLE

    def _list(self, folder: _Open) -> bool:
        """Read its names: no more of them than may still be looked at, and one to say so."""
        try:
            with os.scandir(folder.fd) as entries:
                most = max(0, self._bounds.entries - self._seen) + 1
                folder.left = iter(
                    sorted(os.fsencode(entry.name) for entry in islice(entries, most))
                )
        except OSError:
            return False
        return True
