"""Several files and archives as the one archive that an executor unpacks.

Entries of a given archive are taken over as they are, compressed: nothing is inflated here, so a
bomb costs the gateway no more than its bytes, and whether an entry is sound shows where it is
unpacked, in the executor's bounds. The list of entries is read one by one and not by `zipfile`,
which makes an object of each before anybody could count them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from msgspec import Struct

from khala.model.limits import ARCHIVE_ENTRIES

_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC = b"PK\x03\x04"
_LISTED = struct.Struct("<4s6H3L5H2L")
_LISTED_MAGIC = b"PK\x01\x02"
_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\x05\x06"
_COMMENT_BYTES = 65535
_UTF8 = 0x800
#: Sizes stand behind the data; here they stand before it, where they are known.
_SIZES_FOLLOW = 0x8
#: 2.0, made on Unix: the upper half of the attributes is a mode.
_VERSION, _MADE_BY = 20, (3 << 8) | 20
#: 1980-01-01. The same files are the same archive, whenever they are sent.
_DATE = 0x21
_FILE_MODE, _PROGRAM_MODE = 0o100644 << 16, 0o100755 << 16


class Entry(Struct, frozen=True, kw_only=True):
    """One file or folder of an archive, its content as it is stored."""

    name: str
    flags: int = 0
    method: int = 0
    crc32: int
    size_bytes: int
    stored: memoryview
    attributes: int = _FILE_MODE


def entry_of(name: str, content: bytes, *, executable: bool = False) -> Entry:
    return Entry(
        name=name,
        crc32=zlib.crc32(content),
        size_bytes=len(content),
        stored=memoryview(content),
        attributes=_PROGRAM_MODE if executable else _FILE_MODE,
    )


def entries_of(archive: bytes, folder: str) -> Iterator[Entry]:
    """What a zip archive holds, moved into `folder`. Raise `ValueError` if it is none."""
    try:
        yield from _entries(archive, f"{folder}/" if folder else "")
    except struct.error as error:
        raise ValueError("the zip archive is broken: it ends too early") from error


def _entries(archive: bytes, prefix: str) -> Iterator[Entry]:
    end = archive.rfind(_END_MAGIC, max(0, len(archive) - _END.size - _COMMENT_BYTES))
    if end < 0:
        raise ValueError("this is not a zip archive")
    _, _, _, _, count, list_bytes, list_offset, _ = _END.unpack_from(archive, end)
    # Something may stand before the archive; offsets count from its beginning.
    start = end - list_bytes - list_offset
    if start < 0:
        raise ValueError("the zip archive is broken: its list of entries is not where it says")
    at = start + list_offset
    for _ in range(count):
        (magic, _, _, flags, method, _, _, crc32, stored, size, name_bytes, extra, comment, _, _,
         attributes, offset) = _LISTED.unpack_from(archive, at)  # fmt: skip
        if magic != _LISTED_MAGIC:
            raise ValueError("the zip archive is broken: its list of entries is not readable")
        name = bytes(archive[at + _LISTED.size : at + _LISTED.size + name_bytes])
        yield Entry(
            name=prefix
            + (name.decode("utf-8", "replace") if flags & _UTF8 else name.decode("cp437")),
            flags=flags & ~(_UTF8 | _SIZES_FOLLOW),
            method=method,
            crc32=crc32,
            size_bytes=size,
            stored=_stored(archive, start + offset, stored),
            attributes=attributes,
        )
        at += _LISTED.size + name_bytes + extra + comment


def _stored(archive: bytes, at: int, stored_bytes: int) -> memoryview:
    magic, *_, name_bytes, extra_bytes = _LOCAL.unpack_from(archive, at)
    begin = at + _LOCAL.size + name_bytes + extra_bytes
    if magic != _LOCAL_MAGIC or begin + stored_bytes > len(archive):
        raise ValueError("the zip archive is broken: an entry is not where the list says")
    return memoryview(archive)[begin : begin + stored_bytes]


def write_archive(entries: Iterable[Entry]) -> bytes:
    """Raise `ValueError` for more entries than the format can count."""
    out = bytearray()
    listed = bytearray()
    count = 0
    for entry in entries:
        count += 1
        name = entry.name.encode("utf-8", "replace")
        flags = entry.flags | (0 if name.isascii() else _UTF8)
        head = (flags, entry.method, 0, _DATE, entry.crc32, len(entry.stored), entry.size_bytes)
        where = len(out)
        out += _LOCAL.pack(_LOCAL_MAGIC, _VERSION, *head, len(name), 0)
        out += name
        out += entry.stored
        listed += _LISTED.pack(
            _LISTED_MAGIC, _MADE_BY, _VERSION, *head, len(name), 0, 0, 0, 0, entry.attributes, where
        )
        listed += name
    if count > ARCHIVE_ENTRIES:
        raise ValueError(f"{count} files are more than the {ARCHIVE_ENTRIES} of one archive")
    end = _END.pack(_END_MAGIC, 0, 0, count, count, len(listed), len(out), 0)
    return bytes(out + listed + end)
