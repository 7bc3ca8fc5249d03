"""A box's files as they are after a stage, kept outside it and put into another box later.

All or nothing: a snapshot that lacks something, or has it differently, would make a program fail
in a way that nobody could explain. So whatever cannot be put back exactly (pipes, sockets, access
control lists and other attributes, foreign owners, more than the bounds) makes a box one that is
not captured. What can: folders, files with holes, hard and symbolic links, every permission bit,
and the times that `make` goes by.

Writing follows the same rule as reading: every component is opened from the folder above it, in a
box that no task has touched yet.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Sequence
from enum import StrEnum

from msgspec import Struct

from khala.model.limits import CACHE_NAMES_BYTES
from sandbox.collect import Bounds, Found, Obstacle, Walk
from sandbox.folders import write_all

_PIECE_BYTES = 256 * 1024
_PAGE_BYTES = 4096
_BOUNDS = Bounds(entries=100_000, depth=64, seconds=10.0)
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Kind(StrEnum):
    FOLDER = "d"
    FILE = "f"
    SYMLINK = "l"
    #: Another name of a file that comes earlier.
    LINK = "h"


class Item(Struct, frozen=True, array_like=True):
    """One name. Items come in the order of the walk: a folder before what is in it."""

    #: Which of the captured folders it is in.
    top: int
    #: Empty for that folder itself.
    name: bytes
    kind: Kind
    mode: int = 0
    mtime_ns: int = 0
    size_bytes: int = 0
    #: It takes less room than its size says.
    sparse: bool = False
    #: Where a symlink leads, or the first name of a linked file.
    target: bytes = b""


class Snapshot(Struct, frozen=True, kw_only=True):
    """`size_bytes` of contents, one file after the other, with their checksum."""

    items: list[Item]
    size_bytes: int
    crc32: int


class Witness:
    """Tells whether anybody read, changed or replaced a file since it was put there.

    By its times: those of the last access and of the last change, of which a task can set the
    first but not the second. A task that opens its own file so that this leaves no trace deceives
    nobody but those who submit the same task.
    """

    def __init__(self, folder_fd: int, name: bytes) -> None:
        self.name = name
        self._folder_fd = folder_fd
        info = self._stat()
        # Long ago, so that the next access is noted however soon it comes.
        times = (0, info.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=folder_fd, follow_symlinks=False)
        self._expected = _identity(self._stat())

    def untouched(self) -> bool:
        try:
            return _identity(self._stat()) == self._expected
        except OSError:
            return False

    def _stat(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self._folder_fd, follow_symlinks=False)


def _identity(info: os.stat_result) -> tuple[int, ...]:
    return (info.st_ino, info.st_mode, info.st_size, info.st_atime_ns, info.st_ctime_ns)


def capture(
    tops: Sequence[int],
    sink_fd: int,
    leave: frozenset[bytes],
    max_bytes: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Snapshot | None:
    """Write the contents of all files to `sink_fd`; None if the box cannot be captured whole.

    Names in `leave`, at the top of the first folder, are not part of it. Raises OSError if the
    contents cannot be written.
    """
    capturing = _Capturing(sink_fd, max_bytes)
    for number, top_fd in enumerate(tops):
        if not capturing.begin(number, top_fd):
            return None
        with Walk(top_fd, _BOUNDS, stopped) as walk:
            for seen in walk:
                if number == 0 and seen.name in leave:
                    continue
                if isinstance(seen, Obstacle) or not capturing.take(seen):
                    return None
    return capturing.done()


class _Capturing:
    def __init__(self, sink_fd: int, max_bytes: int) -> None:
        self._sink_fd = sink_fd
        self._max_bytes = max_bytes
        self._items: list[Item] = []
        self._size = 0
        self._crc = 0
        self._names_left = CACHE_NAMES_BYTES
        self._top = 0
        self._owner = (0, 0)
        #: First names of files that have several, by inode.
        self._linked: dict[int, bytes] = {}

    def begin(self, number: int, top_fd: int) -> bool:
        """False if that folder cannot be put back as it is."""
        info = os.fstat(top_fd)
        self._top = number
        self._owner = (info.st_uid, info.st_gid)
        self._linked.clear()
        self._items.append(self._item(b"", Kind.FOLDER, info))
        return not _has_attributes(top_fd)

    def done(self) -> Snapshot:
        return Snapshot(items=self._items, size_bytes=self._size, crc32=self._crc)

    def take(self, found: Found) -> bool:
        """False if it cannot be put back as it is."""
        info = found.info
        if (info.st_uid, info.st_gid) != self._owner:
            return False
        if stat.S_ISDIR(info.st_mode):
            return self._take_folder(found)
        if stat.S_ISLNK(info.st_mode):
            item = self._item(found.name, Kind.SYMLINK, info, target=found.read_link())
            return self._add(item) and info.st_nlink == 1
        return stat.S_ISREG(info.st_mode) and self._take_file(found)

    def _take_folder(self, found: Found) -> bool:
        fd = found.open_folder()
        if fd is None:
            return False
        try:
            return not _has_attributes(fd) and self._add(
                self._item(found.name, Kind.FOLDER, found.info)
            )
        finally:
            os.close(fd)

    def _take_file(self, found: Found) -> bool:
        info = found.info
        first = self._linked.get(info.st_ino)
        if first is not None:
            return self._add(self._item(found.name, Kind.LINK, info, target=first))
        if self._size + info.st_size > self._max_bytes:
            return False
        fd = found.open()
        if fd is None:
            return False
        try:
            if _has_attributes(fd) or not self._copy(fd, info.st_size):
                return False
        finally:
            os.close(fd)
        if info.st_nlink > 1:
            self._linked[info.st_ino] = found.name
        return self._add(self._item(found.name, Kind.FILE, info))

    def _add(self, item: Item) -> bool:
        self._items.append(item)
        self._names_left -= len(item.name) + len(item.target)
        return self._names_left >= 0

    def _copy(self, fd: int, size: int) -> bool:
        left = size
        while left:
            piece = os.read(fd, min(_PIECE_BYTES, left))
            if not piece:
                return False
            self._crc = zlib.crc32(piece, self._crc)
            write_all(self._sink_fd, piece)
            left -= len(piece)
        self._size += size
        return True

    def _item(self, name: bytes, kind: Kind, info: os.stat_result, target: bytes = b"") -> Item:
        plain = kind is Kind.FILE
        return Item(
            self._top,
            name,
            kind,
            stat.S_IMODE(info.st_mode),
            info.st_mtime_ns,
            info.st_size if plain else 0,
            plain and info.st_blocks * 512 < info.st_size,
            target,
        )


def _has_attributes(fd: int) -> bool:
    """Of the task's making: `security.*` is the host's, and comes with the new file."""
    return any(not name.startswith("security.") for name in os.listxattr(fd))


def restore(tops: Sequence[int], uid: int, snapshot: Snapshot, source_fd: int) -> None:
    """Put everything into fresh folders that belong to `uid`; the contents are read from
    `source_fd`, at its position. Raises OSError; what was written before stays."""
    folders = _Folders(tops)
    try:
        for item in snapshot.items:
            if item.name:
                _put_back(folders, item, uid, source_fd)
        # Last, for whoever is not root could not write into a folder that forbids it, and every
        # new name changes its folder's time.
        for item in reversed(snapshot.items):
            if item.kind is Kind.FOLDER:
                fd = folders.open(item.top, item.name)
                os.fchown(fd, uid, uid)
                os.fchmod(fd, item.mode)
                os.utime(fd, ns=(item.mtime_ns, item.mtime_ns))
    finally:
        folders.close()


class _Folders:
    """Folders of the box by name; the one used last stays open."""

    def __init__(self, tops: Sequence[int]) -> None:
        self._tops = tops
        self._last: tuple[int, bytes] | None = None
        self._fd = -1

    def open(self, top: int, name: bytes) -> int:
        """Valid until the next call."""
        if self._last == (top, name):
            return self._fd
        self.close()
        fd = os.dup(self._tops[top])
        for part in name.split(b"/") if name else ():
            try:
                below = os.open(part, _FOLDER_FLAGS, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        self._last, self._fd = (top, name), fd
        return fd

    def close(self) -> None:
        if self._last is not None:
            os.close(self._fd)
            self._last = None


def _put_back(folders: _Folders, item: Item, uid: int, source_fd: int) -> None:
    above, _, leaf = item.name.rpartition(b"/")
    times = (item.mtime_ns, item.mtime_ns)
    if item.kind is Kind.LINK:
        _link(folders, item, above, leaf)
        return
    folder_fd = folders.open(item.top, above)
    if item.kind is Kind.FOLDER:
        os.mkdir(leaf, 0o700, dir_fd=folder_fd)
    elif item.kind is Kind.SYMLINK:
        os.symlink(item.target, leaf, dir_fd=folder_fd)
        os.chown(leaf, uid, uid, dir_fd=folder_fd, follow_symlinks=False)
        os.utime(leaf, ns=times, dir_fd=folder_fd, follow_symlinks=False)
    else:
        fd = os.open(leaf, _FILE_FLAGS, 0o600, dir_fd=folder_fd)
        try:
            _fill(fd, item, source_fd)
            # The owner first: changing it takes the set-user-id bit away.
            os.fchown(fd, uid, uid)
            os.fchmod(fd, item.mode)
            os.utime(fd, ns=times)
        finally:
            os.close(fd)


def _link(folders: _Folders, item: Item, above: bytes, leaf: bytes) -> None:
    first_above, _, first_leaf = item.target.rpartition(b"/")
    first_fd = os.dup(folders.open(item.top, first_above))
    try:
        os.link(
            first_leaf,
            leaf,
            src_dir_fd=first_fd,
            dst_dir_fd=folders.open(item.top, above),
            follow_symlinks=False,
        )
    finally:
        os.close(first_fd)


def _fill(fd: int, item: Item, source_fd: int) -> None:
    left = item.size_bytes
    if not item.sparse:
        while left:
            sent = os.sendfile(fd, source_fd, None, left)
            if sent == 0:
                raise OSError("the snapshot is shorter than it says")
            left -= sent
        return
    while left:
        page = os.read(source_fd, min(_PAGE_BYTES, left))
        if not page:
            raise OSError("the snapshot is shorter than it says")
        if page.count(0) == len(page):
            os.lseek(fd, len(page), os.SEEK_CUR)
        else:
            write_all(fd, page)
        left -= len(page)
    os.ftruncate(fd, item.size_bytes)
