"""Files inside a box, reached only through open directories.

The escapes of other systems were not in the kernel but in service code that followed a path a
task had planted a symlink in. So nothing here takes a path: every component is opened from the
directory above it without following links, new files replace whatever has their name, and
ownership is set on descriptors.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NAME_BYTES = 255
DEPTH = 32


def open_folder(top_fd: int, parts: Sequence[bytes], uid: int) -> int:
    """Open (making what is missing) a folder below `top_fd`; the caller closes the result.

    Raises NotADirectoryError when something else is in the way.
    """
    fd = os.dup(top_fd)
    for part in parts:
        try:
            try:
                os.mkdir(part, 0o755, dir_fd=fd)
                made = True
            except FileExistsError:
                made = False
            below = os.open(part, _FOLDER_FLAGS, dir_fd=fd)
            if made:
                os.fchown(below, uid, uid)
        finally:
            os.close(fd)
        fd = below
    return fd


def create_file(folder_fd: int, name: bytes, uid: int, mode: int = 0o644) -> int:
    """A new empty file in place of whatever file has that name; the caller closes the result.

    Raises IsADirectoryError when a folder has it.
    """
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder_fd)
    fd = os.open(name, _FILE_FLAGS, mode, dir_fd=folder_fd)
    try:
        os.fchmod(fd, mode)
        os.fchown(fd, uid, uid)
    except OSError:
        os.close(fd)
        raise
    return fd


def write_all(fd: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def replace_file(folder_fd: int, name: bytes, uid: int, data: bytes) -> None:
    """Write a small file, moving a folder of that name out of the way. Raises OSError (ENOSPC)."""
    try:
        fd = create_file(folder_fd, name, uid)
    except IsADirectoryError:
        aside = name + b"~" + secrets.token_hex(4).encode()
        os.rename(name, aside, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        fd = create_file(folder_fd, name, uid)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def split_name(name: str) -> list[bytes]:
    """The components of a relative name. Raises ValueError saying what is wrong with it."""
    if "\0" in name:
        raise ValueError("it contains a NUL character")
    if "\\" in name:
        raise ValueError("it contains a backslash; use / between folders")
    if name.startswith("/"):
        raise ValueError("it is absolute")
    parts = name.encode("utf-8", "surrogateescape").split(b"/")
    if any(part in (b"", b".", b"..") for part in parts):
        raise ValueError("it has an empty, '.' or '..' part")
    longest = max(len(part) for part in parts)
    if longest > NAME_BYTES:
        raise ValueError(f"a part of it has {longest} bytes (limit {NAME_BYTES})")
    if len(parts) > DEPTH:
        raise ValueError(f"it is {len(parts)} folders deep (limit {DEPTH})")
    return parts
