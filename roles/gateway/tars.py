"""The files of a tar archive, as entries of the one archive that an executor unpacks.

Executors know one format, and what takes hostile archives apart as root stays small. So a tar
archive is taken apart here, in memory and within bounds that hold before anything is made of it:
inflated bytes, then entries. Whatever is no plain file or folder is refused by name, because a
program that finds half of its sources is harder to understand than a refusal. Names are checked
where they are unpacked, like all others.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from typing import Self

from khala.model.limits import ARCHIVE_ENTRIES, MIB, TAR_BYTES
from roles.gateway.archives import Entry, entry_of

_GZIP_MAGIC = b"\x1f\x8b"
#: A header of 16 bits for zlib says "gzip".
_GZIP = 16 + zlib.MAX_WBITS
_BLOCK = 512


def entries_of_tar(archive: bytes, folder: str) -> Iterator[Entry]:
    """What a tar archive holds, compressed with gzip or not, moved into `folder`. Raise
    `ValueError` if it is none, or holds too much."""
    prefix = f"{folder}/" if folder else ""
    content = _inflated(archive) if archive.startswith(_GZIP_MAGIC) else archive
    if len(content) < _BLOCK:
        raise ValueError("this is not a tar archive, nor one compressed with gzip")
    try:
        with tarfile.open(
            fileobj=io.BytesIO(content), mode="r:", tarinfo=_Member, encoding="utf-8"
        ) as opened:
            for member in _members(opened):
                name = _name(member)
                if name != ".":
                    yield _entry(opened, member, f"{prefix}{name}")
    except (tarfile.TarError, EOFError, OverflowError, RecursionError) as error:
        raise ValueError(f"the tar archive is broken, or none: {error}") from error


class _Member(tarfile.TarInfo):
    """One that does not lead backwards: whoever follows it would never come to an end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise tarfile.ReadError(f"{member.name[:200]!r} says it has {member.size} bytes")
        return member


def _members(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    at = -1
    for _ in range(ARCHIVE_ENTRIES + 1):
        member = opened.next()
        if member is None:
            return
        if opened.offset <= at:
            raise tarfile.ReadError(f"{member.name[:200]!r} leads backwards")
        at = opened.offset
        yield member
    raise ValueError(f"the tar archive has more than {ARCHIVE_ENTRIES} entries")


def _inflated(archive: bytes) -> bytes:
    """Of all members that a gzip file may have, one behind the other."""
    content = bytearray()
    try:
        while archive:
            inflate = zlib.decompressobj(_GZIP)
            content += inflate.decompress(archive, TAR_BYTES + 1 - len(content))
            if len(content) > TAR_BYTES or inflate.unconsumed_tail:
                raise ValueError(
                    f"the tar archive inflates to more than {TAR_BYTES // MIB} MiB; send a zip"
                    " archive, which is unpacked by the executor"
                )
            if not inflate.eof:
                raise ValueError("the tar archive is broken: its gzip data ends too early")
            # What is no further member is padding.
            archive = inflate.unused_data if inflate.unused_data.startswith(_GZIP_MAGIC) else b""
    except zlib.error as error:
        raise ValueError(f"the tar archive is broken: {error}") from error
    return bytes(content)


def _name(member: tarfile.TarInfo) -> str:
    """Not before it is whole: of a long one, a header may hold half a character."""
    name = member.name.removeprefix("./")
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "replace").decode()
        raise ValueError(f"the name {shown[:200]!r} in the tar archive is not UTF-8") from None
    return name


def _entry(opened: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Entry:
    if member.isdir():
        return entry_of(f"{name.rstrip('/')}/", b"")
    if not member.isreg() or member.issparse():
        raise ValueError(f"{name[:200]!r} is neither a file nor a folder")
    file = opened.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise ValueError(f"the tar archive is broken: it ends in {name[:200]!r}")
    return entry_of(name, content, executable=bool(member.mode & 0o111))
