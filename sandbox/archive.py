"""Unpacking a zip archive that nobody vouches for.

Everything is bounded before or while it happens: the directory of the archive before it is parsed
(a small file can list a million entries), entries and declared bytes before the first is written,
real bytes while they inflate. Only plain files and folders with plain names are taken; anything
odd is refused with the name of the entry, because a program that finds half of its sources is
harder to understand than a refusal. Of the permissions only "executable" is kept.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from typing import BinaryIO

from khala.model.limits import MIB
from sandbox.errors import BadArchive
from sandbox.folders import create_file, open_folder, split_name, write_all

_CHUNK_BYTES = 64 * 1024
_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\x05\x06"
_LOCATOR_BYTES = 20
_LOCATOR_MAGIC = b"PK\x06\x07"
_COMMENT_BYTES = 65535
#: The list of an archive's entries; 16384 of them with names of average length need a tenth.
_DIRECTORY_BYTES = 16 * MIB
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    UnicodeError,
    ValueError,
    IndexError,
    RuntimeError,
)


def unpack(archive: str, top_fd: int, uid: int, *, max_bytes: int, max_entries: int) -> None:
    """Unpack into the folder `top_fd`. Raises BadArchive; what was written before stays."""
    with open(archive, "rb") as file:
        _check_end(file, max_entries)
        try:
            with zipfile.ZipFile(file) as opened:
                entries = opened.infolist()
                _check_entries(entries, max_bytes, max_entries)
                for entry in entries:
                    _extract(opened, entry, top_fd, uid)
        except BadArchive:
            raise
        except _BROKEN as error:
            raise BadArchive(f"the zip archive is broken: {error}") from error


def _check_end(file: BinaryIO, max_entries: int) -> None:
    """Look at the end record where zipfile will look for it: at the very end, else before it."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - _END.size - _COMMENT_BYTES - _LOCATOR_BYTES))
    tail = file.read()
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4] != _END_MAGIC or tail[-2:] != b"\0\0":
        at = tail.rfind(_END_MAGIC, max(0, len(tail) - _END.size - _COMMENT_BYTES))
    if at < 0 or at + _END.size > len(tail):
        raise BadArchive("this is not a zip archive")
    if tail[max(0, at - _LOCATOR_BYTES) :].startswith(_LOCATOR_MAGIC):
        raise BadArchive("the zip archive uses the zip64 format; make it without zip64")
    _, _, _, _, entries, directory_bytes, _, _ = _END.unpack_from(tail, at)
    if entries > max_entries:
        raise BadArchive(f"the zip archive has {entries} entries (limit {max_entries})")
    if directory_bytes > min(size, _DIRECTORY_BYTES):
        raise BadArchive(
            f"the zip archive's list of entries has {directory_bytes} bytes"
            f" (limit {min(size, _DIRECTORY_BYTES)})"
        )


def _check_entries(entries: list[zipfile.ZipInfo], max_bytes: int, max_entries: int) -> None:
    if len(entries) > max_entries:
        raise BadArchive(f"the zip archive has {len(entries)} entries (limit {max_entries})")
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise BadArchive(f"the zip archive unpacks to {total} bytes (limit {max_bytes})")
    for entry in entries:
        name = entry.orig_filename
        if entry.flag_bits & _ENCRYPTED:
            raise BadArchive(f"{name!r} is encrypted; make the archive without a password")
        if entry.compress_type not in _METHODS:
            raise BadArchive(
                f"{name!r} is compressed by method {entry.compress_type}; use deflate or store"
            )
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadArchive(f"{name!r} is neither a file nor a folder (mode {kind:o})")
        _parts(entry)


def _parts(entry: zipfile.ZipInfo) -> list[bytes]:
    name = entry.orig_filename
    try:
        return split_name(name[:-1] if name.endswith("/") else name)
    except ValueError as error:
        raise BadArchive(f"the entry name {name[:300]!r} is refused: {error}") from error


def _extract(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, top_fd: int, uid: int) -> None:
    parts = _parts(entry)
    name = entry.orig_filename
    try:
        if name.endswith("/"):
            os.close(open_folder(top_fd, parts, uid))
            return
        folder_fd = open_folder(top_fd, parts[:-1], uid)
        try:
            executable = (entry.external_attr >> 16) & 0o111
            fd = create_file(folder_fd, parts[-1], uid, 0o755 if executable else 0o644)
        finally:
            os.close(folder_fd)
        try:
            _inflate(opened, entry, fd)
        finally:
            os.close(fd)
    except (NotADirectoryError, IsADirectoryError) as error:
        raise BadArchive(f"{name!r} is both a file and a folder in the archive") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadArchive(f"the work directory is full at {name!r}") from error
        if error.errno == errno.EINVAL:  # an offset before the start of the file
            raise BadArchive(f"the zip archive is broken at {name!r}") from error
        raise


def _inflate(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, fd: int) -> None:
    written = 0
    with opened.open(entry) as source:
        while chunk := source.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > entry.file_size:
                raise BadArchive(
                    f"{entry.orig_filename!r} is larger than its declared {entry.file_size} bytes"
                )
            write_all(fd, chunk)
