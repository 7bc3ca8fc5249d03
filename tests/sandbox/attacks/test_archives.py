"""Archives that are made to harm: nothing is written outside, nothing beyond the bounds."""

from __future__ import annotations

import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from khala.model.limits import KIB, MIB
from sandbox import BadArchive
from sandbox.archive import unpack
from tests.sandbox.harness import Runner

_MAX_BYTES = 1 * MIB
_MAX_ENTRIES = 50


def _zip(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _raw(records: list[tuple[str, bytes, int]], *, share: bool = False, junk: bytes = b"") -> bytes:
    """Built by hand: (name, data, declared size); with `share`, all entries are one local record."""
    out, central = junk, b""
    for index, (name, data, size) in enumerate(records):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(data) + packer.flush()
        head = struct.pack(
            "<HHHHHLLLHH", 20, 0, 8, 0, 33, zlib.crc32(data), len(packed), size, len(name), 0
        )
        if not share or index == 0:
            offset = len(out)
            out += b"PK\3\4" + head + name.encode() + packed
        central += (
            b"PK\1\2"
            + struct.pack("<H", 20)
            + head
            + struct.pack("<HHHLL", 0, 0, 0, 0, offset)
            + name.encode()
        )
    end = struct.pack("<HHHHLLH", 0, 0, len(records), len(records), len(central), len(out), 0)
    return out + central + b"PK\5\6" + end


_BIG = bytes(900 * KIB)
#: Name: the archive, and the files it may give (None: it is refused).
_ARCHIVES: dict[str, tuple[bytes, int | None]] = {
    "a bomb": (_zip(("a", bytes(64 * MIB))), None),
    "a bomb of many entries": (_zip(*((f"{i}", _BIG) for i in range(40))), None),
    "a bomb that declares little": (_raw([("a", bytes(8 * MIB), 10)]), None),
    "a bomb that declares nothing": (_raw([("a", bytes(8 * MIB), 0)]), None),
    "entries that share one body": (_raw([("a", _BIG, len(_BIG))] + [(f"{i}", _BIG, len(_BIG)) for i in range(40)], share=True), None),
    "entries that share one body, of one name": (_raw([("a", _BIG, len(_BIG))] * 40, share=True), None),
    "entries that share one body and declare little": (_raw([("a", _BIG, len(_BIG))] + [("a", _BIG, 1)] * 40, share=True), None),
    "a bomb within is left packed": (_zip(("inner.zip", _zip(("a", bytes(64 * MIB))))), 1),
    "something before it": (_raw([("a", b"1", 1)], junk=b"#!/bin/sh\nexit\n"), 1),
    "a comment that is an archive": (_zip(("a", b"1"))[:-2] + struct.pack("<H", 22) + b"PK\5\6" + bytes(18), 0),
    "other letters": (_zip(("A", b"1"), ("a", b"2")), 2),
    "composed and decomposed letters": (_zip(("\u00e9", b"1"), ("e\u0301", b"2")), 2),
    "right to left": (_zip(("\u202egnp.exe", b"1")), 1),
    "no letters": (_zip(("\u200b", b"1"), ("...", b"2"), (" ", b"3")), 3),
    "line feed": (_zip(("a\nb", b"1")), 1),
    "options": (_zip(("-rf", b"1"), ("--help", b"2")), 2),
    "shell": (_zip(("$(touch x)", b"1"), ("`id`", b"2"), (";id", b"3")), 3),
    "names of devices": (_zip(("con", b"1"), ("nul.txt", b"2")), 2),
    "a drive": (_zip(("c:x", b"1")), 1),
    "parent": (_zip(("../x", b"1")), None),
    "parent, far": (_zip(("a/b/../../../x", b"1")), None),
    "parent of a drive": (_zip(("..\\..\\x", b"1")), None),
    "parent, by folder": (_zip(("../", b"")), None),
    "parent, later": (_zip(("good", b"1"), ("a/../../x", b"2")), None),
    "root": (_zip(("/x", b"1")), None),
    "root, twice": (_zip(("//x", b"1")), None),
    "root of a network": (_zip(("\\\\host\\x", b"1")), None),
    "the folder itself": (_zip((".", b"1")), None),
    "the folder itself, as a folder": (_zip(("./", b"")), None),
    "a folder with content": (_zip(("d/", b"content")), 0),
    "a file below a file": (_zip(("a", b"1"), ("a/b", b"2")), None),
    "a file for a folder": (_zip(("a/b", b"1"), ("a", b"2")), None),
    "the service's names": (_zip(("compile.sh", b"1"), ("execute.sh", b"2"), ("execute.in", b"3"), ("data", b"4")), 4),
    "as many entries as allowed": (_zip(*((f"{i}", b"") for i in range(_MAX_ENTRIES))), _MAX_ENTRIES),
    "as many bytes as allowed": (_zip(("a", bytes(_MAX_BYTES))), 1),
}  # fmt: skip


class _Place:
    def __init__(self, folder: Path, open_top: Callable[[], int]) -> None:
        self.top = folder / "top"
        self.top.mkdir()
        self._open = open_top
        self._archive = folder / "archive.zip"

    def unpack(self, data: bytes) -> None:
        self._archive.write_bytes(data)
        fd = os.open(self.top, os.O_RDONLY | os.O_DIRECTORY)
        try:
            unpack(
                str(self._archive), fd, os.getuid(), max_bytes=_MAX_BYTES, max_entries=_MAX_ENTRIES
            )
        finally:
            os.close(fd)
            self._archive.unlink()

    def files(self) -> list[Path]:
        return [path for path in self.top.rglob("*") if not path.is_dir()]


@pytest.fixture
def place(tmp_path: Path, folder_fd: Callable[[], int]) -> _Place:
    return _Place(tmp_path, folder_fd)


@pytest.mark.parametrize("name", _ARCHIVES)
def test_archives(place: _Place, name: str) -> None:
    data, files = _ARCHIVES[name]
    if files is None:
        with pytest.raises(BadArchive):
            place.unpack(data)
    else:
        place.unpack(data)
        assert len(place.files()) == files
    assert [path.name for path in place.top.parent.iterdir()] == ["top"]
    assert sum(path.stat().st_size for path in place.files()) <= _MAX_BYTES
    assert all(path.is_file() and not path.is_symlink() for path in place.files())


@pytest.mark.parametrize("seed", range(8))
def test_broken_in_any_way(place: _Place, seed: int) -> None:
    """Bytes changed, cut, repeated: an archive is unpacked or refused, and nothing else happens."""
    chance = random.Random(seed)
    sound = _zip(("a", b"1" * 300), ("d/b", bytes(1000)), ("d/", b""), ("\u00e9", os.urandom(50)))
    refused = 0
    for _ in range(60):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            what = chance.randrange(4)
            if what == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif what == 1:
                data[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"PK\5\6", b"../x"])
            elif what == 2:
                del data[at : at + chance.randint(1, 30)]
            else:
                data[at:at] = data[at : at + chance.randint(1, 60)]
        try:
            place.unpack(bytes(data))
        except BadArchive:
            refused += 1
        assert [path.name for path in place.top.parent.iterdir()] == ["top"]
    assert refused > 20
    assert all(not path.is_symlink() for path in place.top.rglob("*"))


@pytest.mark.parametrize("into", ["", "data"])
async def test_the_services_own_files_win(runner: Runner, tmp_path: Path, into: str) -> None:
    names = ("compile.sh", "execute.sh", "execute.in", "x/../y")[:3]
    (tmp_path / "a.zip").write_bytes(_zip(*((name, b"echo wrong\n") for name in names)))
    async with runner.sandbox.box(0) as box:
        await box.unpack(tmp_path / "a.zip", "data" if into else "")
        await box.put("execute.in", b"given")
        ran = await runner.finish(box, runner.job("echo right; cat execute.in"))
    assert ran.text == "right\ngiven"
