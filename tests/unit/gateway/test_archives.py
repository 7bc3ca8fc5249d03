"""Archives made of files and archives: readable by everybody, and nothing inflated on the way."""

from __future__ import annotations

import io
import stat
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khala.model.limits import ARCHIVE_ENTRIES
from roles.gateway import archives
from roles.gateway.archives import entries_of, entry_of, write_archive


def made(*files: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def opened(archive: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(archive))


def test_names_modes_and_contents_survive() -> None:
    given = made(("run.sh", b"echo", stat.S_IFREG | 0o755), ("é/ü.txt", b"x" * 9000, 0o100644))
    merged = opened(write_archive([entry_of("top", b"t"), *entries_of(given, "sub")]))
    assert merged.testzip() is None
    assert merged.namelist() == ["top", "sub/run.sh", "sub/é/ü.txt"]
    assert merged.read("sub/é/ü.txt") == b"x" * 9000
    assert (merged.getinfo("sub/run.sh").external_attr >> 16) & 0o111
    # It stays as small as it came.
    assert merged.getinfo("sub/é/ü.txt").compress_size < 100


def test_the_same_files_are_the_same_archive() -> None:
    assert write_archive([entry_of("a", b"1")]) == write_archive([entry_of("a", b"1")])


def test_an_archive_written_as_a_stream_is_read() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr("a", b"content")
    merged = opened(write_archive(entries_of(pipe.getvalue(), "")))
    assert merged.read("a") == b"content"


def test_something_may_stand_before_an_archive() -> None:
    merged = opened(write_archive(entries_of(b"#!/bin/sh\n" + made(("a", b"x", 0)), "")))
    assert merged.read("a") == b"x"


def test_an_archive_within_files_is_not_inflated() -> None:
    bomb = made(("zeros", bytes(50_000_000), 0))
    assert len(write_archive(entries_of(bomb, ""))) < 100_000


@given(st.binary(max_size=300))
def test_any_bytes_are_an_archive_or_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"zip archive"):
        write_archive(entries_of(data, ""))


@given(st.integers(0, 180), st.binary(min_size=1, max_size=8))
def test_a_damaged_archive_is_refused_or_rewritten(at: int, damage: bytes) -> None:
    archive = bytearray(made(("a.txt", b"some text", 0), ("b.txt", b"more", 0)))
    archive[at : at + len(damage)] = damage
    try:
        rewritten = write_archive(entries_of(bytes(archive), "x"))
    except ValueError:
        return
    assert len(opened(rewritten).namelist()) <= 2


def test_more_entries_than_the_format_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert struct.calcsize("<H") == 2 and ARCHIVE_ENTRIES == 2**16 - 1
    monkeypatch.setattr(archives, "ARCHIVE_ENTRIES", 2)
    entries = [entry_of(str(n), b"") for n in range(3)]
    assert len(opened(write_archive(entries[:2])).namelist()) == 2
    with pytest.raises(ValueError, match="3 files are more than the 2"):
        write_archive(entries)
