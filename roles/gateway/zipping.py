"""A zip archive of files that are somewhere else, written while they arrive.

Nothing is compressed, and sizes and checksums are known beforehand: so the length of the whole is
known before its first byte (a broken download shows), no reader needs to seek, and no file is held
in memory. The bounds of artifacts keep everything far below what would need zip64.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import AsyncIterator, Sequence

from khala.model.errors import Unavailable
from khala.model.outcome import ArtifactRef

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
#: Version 2.0, made by a Unix (so that modes count).
_VERSION = 20
_MADE_BY = 3 << 8 | _VERSION
_UTF8 = 0x800
_REGULAR = 0o100000

#: What some system forbids in names, or gives a meaning to; and a percent sign that would look
#: like the result of this.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\\:*?"<>|\udc80-\udcff]|%(?=[0-9A-Fa-f]{2})')


def safe_name(name: bytes) -> str:
    """A name that is one on the extracting host too, and means nothing else there.

    What is unsafe is written as in addresses (`%0A`), so different names stay different.
    """
    return _UNSAFE.sub(_escape, name.decode("utf-8", "surrogateescape"))


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found.group().encode("utf-8", "surrogateescape"))


class Zip:
    """The archive of these files, in this order."""

    def __init__(self, files: Sequence[ArtifactRef]) -> None:
        self._files = files
        self._names = [safe_name(file.name).encode() for file in files]

    @property
    def size_bytes(self) -> int:
        names = sum(len(name) for name in self._names)
        contents = sum(file.size_bytes for file in self._files)
        heads = len(self._files) * (_LOCAL.size + _CENTRAL.size)
        return heads + 2 * names + contents + _END.size

    async def write(self, contents: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """`contents` are the bytes of all files, one after the other."""
        central: list[bytes] = []
        at = 0
        source = _Source(contents)
        for file, name in zip(self._files, self._names, strict=True):
            head = _LOCAL.pack(b"PK\3\4", _VERSION, *_common(file, name)) + name
            yield head
            central.append(_entry(file, name, at))
            at += len(head) + file.size_bytes
            async for piece in source.take(file.size_bytes):
                yield piece
        listing = b"".join(central)
        count = len(central)
        yield listing + _END.pack(b"PK\5\6", 0, 0, count, count, len(listing), at, 0)


class _Source:
    """Cuts a stream of pieces where files end."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    async def take(self, size: int) -> AsyncIterator[bytes]:
        left = size
        while left:
            piece = self._rest or await anext(self._pieces, b"")
            if not piece:
                raise Unavailable("the judicator stopped sending")
            self._rest = piece[left:]
            yield piece[:left]
            left -= min(left, len(piece))


def _common(file: ArtifactRef, name: bytes) -> tuple[int, ...]:
    """The fields that stand in both headers of a file, from the flags to the extra field."""
    when = time.gmtime(file.modified_s)
    clock = when.tm_hour << 11 | when.tm_min << 5 | when.tm_sec // 2
    day = (when.tm_year - 1980) << 9 | when.tm_mon << 5 | when.tm_mday
    size = file.size_bytes
    return (_UTF8, 0, clock, day, file.crc32, size, size, len(name), 0)


def _entry(file: ArtifactRef, name: bytes, at: int) -> bytes:
    mode = _REGULAR | (0o755 if file.executable else 0o644)
    rest = (0, 0, 0, mode << 16, at)
    return _CENTRAL.pack(b"PK\1\2", _MADE_BY, _VERSION, *_common(file, name), *rest) + name
