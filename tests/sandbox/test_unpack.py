"""Archives that are odd, broken or hostile are refused by name; ordinary ones unpack."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from khala.model.limits import MIB
from khala.model.outcome import Reason
from sandbox import BadArchive, BadInput
from sandbox.archive import unpack
from tests.sandbox.harness import BOX_BYTES, BOX_INODES, Runner

_MAX_BYTES = 1 * MIB
_MAX_ENTRIES = 50
Entry = tuple[str | zipfile.ZipInfo, bytes]


def _zip(*entries: Entry, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return buffer.getvalue()


def _named(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def _renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new) and old in data
    return data.replace(old, new)


def _patched(data: bytes, record: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes of the first record of that kind."""
    at = data.index(record) + offset
    return data[:at] + value + data[at + len(value) :]


_CENTRAL = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_END = b"PK\x05\x06"
_PLAIN = _zip(("a.txt", b"hello"))


class Unpacker:
    def __init__(self, folder: Path, open_top: Callable[[], int]) -> None:
        self.top = folder
        self._open_top = open_top

    def __call__(self, data: bytes) -> dict[str, bytes]:
        archive = self.top.parent / f"{self.top.name}.zip"
        archive.write_bytes(data)
        try:
            unpack(
                str(archive),
                self._open_top(),
                os.getuid(),
                max_bytes=_MAX_BYTES,
                max_entries=_MAX_ENTRIES,
            )
        finally:
            archive.unlink()
        return self.files()

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.top)): path.read_bytes()
            for path in self.top.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def unpacker(tmp_path: Path, folder_fd: Callable[[], int]) -> Unpacker:
    return Unpacker(tmp_path, folder_fd)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_ordinary_archives(unpacker: Unpacker, method: int) -> None:
    data = _zip(("a", b"1"), ("d/", b""), ("d/e/ü b", b"2" * 100_000), method=method)
    assert unpacker(data) == {"a": b"1", "d/e/ü b": b"2" * 100_000}


def test_an_empty_archive(unpacker: Unpacker) -> None:
    assert unpacker(_zip()) == {}


def test_only_the_executable_permission_is_kept(unpacker: Unpacker) -> None:
    unpacker(
        _zip(
            (_named("run", stat.S_IFREG | 0o4711), b""),
            (_named("read", stat.S_IFREG | 0o000), b""),
            (_named("d/", stat.S_IFDIR | 0o777), b""),
        )
    )
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in unpacker.top.iterdir()}
    assert modes == {"run": 0o755, "read": 0o644, "d": 0o755}


def test_the_last_of_equal_names_counts(unpacker: Unpacker) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = _zip(("a", b"1"), ("a", b"2"))
    assert unpacker(data) == {"a": b"2"}


def test_an_existing_link_is_replaced_and_not_followed(unpacker: Unpacker, tmp_path: Path) -> None:
    victim = tmp_path.parent / f"{tmp_path.name}.victim"
    victim.write_bytes(b"untouched")
    (tmp_path / "a").symlink_to(victim)
    assert unpacker(_zip(("a", b"new"))) == {"a": b"new"}
    assert victim.read_bytes() == b"untouched"
    (tmp_path / "d").symlink_to(tmp_path.parent)
    with pytest.raises(BadArchive, match="both a file and a folder"):
        unpacker(_zip(("d/victim", b"new")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(_zip(("../x", b"")), "'../x' is refused.*'..'", id="parent"),
        pytest.param(_zip(("a/../../x", b"")), "'..'", id="parent inside"),
        pytest.param(_zip((_named("/x"), b"")), "absolute", id="absolute"),
        pytest.param(_zip((_named("./x"), b"")), "'.'", id="dot"),
        pytest.param(_zip((_named("a//x"), b"")), "empty", id="empty part"),
        pytest.param(_zip((_named("/"), b"")), "empty", id="slash only"),
        pytest.param(_zip((_named("..\\x"), b"")), "backslash", id="backslash"),
        pytest.param(
            _renamed(_zip(("aXb", b"")), b"aXb", b"a\0b"), "NUL|broken", id="NUL in the name"
        ),
        pytest.param(_zip((_named("n" * 256), b"")), "256 bytes .limit 255", id="long name"),
        pytest.param(_zip((_named("d/" * 40 + "x"), b"")), "41 folders deep .limit 32", id="deep"),
        pytest.param(
            _zip((_named("l", stat.S_IFLNK | 0o777), b"/etc/passwd")),
            "'l' is neither a file nor a folder",
            id="symlink",
        ),
        pytest.param(_zip((_named("p", stat.S_IFIFO), b"")), "neither", id="fifo"),
        pytest.param(_zip((_named("c", stat.S_IFCHR), b"")), "neither", id="device"),
        pytest.param(_zip(("a", b""), ("a/b", b"")), "both a file and a folder", id="file/folder"),
        pytest.param(_zip(("a/b", b""), ("a", b"")), "both a file and a folder", id="folder/file"),
        pytest.param(
            _patched(_patched(_PLAIN, _CENTRAL, 8, b"\x01\0"), _LOCAL, 6, b"\x01\0"),
            "'a.txt' is encrypted",
            id="encrypted",
        ),
        pytest.param(
            _zip(("a", b"x"), method=zipfile.ZIP_LZMA), "method 14; use deflate", id="lzma"
        ),
        pytest.param(_zip(("a", b"x"), method=zipfile.ZIP_BZIP2), "method 12", id="bzip2"),
        pytest.param(
            _zip(("a", bytes(_MAX_BYTES + 1))),
            f"unpacks to {_MAX_BYTES + 1} bytes .limit {_MAX_BYTES}",
            id="too large",
        ),
        pytest.param(
            _zip(*((f"f{i}", bytes(_MAX_BYTES // 10)) for i in range(11))),
            f"limit {_MAX_BYTES}",
            id="too large in sum",
        ),
        pytest.param(
            _patched(_zip(("a", bytes(3 * MIB))), _CENTRAL, 24, struct.pack("<L", 10)),
            "broken|larger than its declared",
            id="larger than declared",
        ),
        pytest.param(
            _zip(*((f"f{i}", b"") for i in range(_MAX_ENTRIES + 1))),
            f"{_MAX_ENTRIES + 1} entries .limit {_MAX_ENTRIES}",
            id="too many",
        ),
        pytest.param(
            _patched(
                _zip(*((f"f{i}", b"") for i in range(_MAX_ENTRIES + 1))), _END, 8, b"\x01\0\x01\0"
            ),
            f"{_MAX_ENTRIES + 1} entries",
            id="too many, but one declared",
        ),
        pytest.param(
            _patched(_PLAIN, _END, 12, struct.pack("<L", 0x7FFFFFFF)),
            "list of entries has 2147483647 bytes",
            id="huge list",
        ),
        pytest.param(b"", "not a zip", id="empty file"),
        pytest.param(b"PK", "not a zip", id="two bytes"),
        pytest.param(b"\x1f\x8b" + bytes(500), "not a zip", id="gzip"),
        pytest.param(_PLAIN[:-10], "not a zip|broken", id="cut off"),
        pytest.param(_PLAIN[30:], "broken", id="head missing"),
        pytest.param(_patched(_PLAIN, _LOCAL, 0, b"XXXX"), "broken", id="local record gone"),
        pytest.param(_patched(_PLAIN, _CENTRAL, 0, b"XXXX"), "broken", id="central record gone"),
        pytest.param(_patched(_PLAIN, _CENTRAL, 16, b"\0\0\0\0"), "broken.*CRC", id="checksum"),
        pytest.param(_patched(_PLAIN, _LOCAL, 35, b"\xff\xff"), "broken", id="bad stream"),
    ],
)
def test_refused(unpacker: Unpacker, data: bytes, message: str) -> None:
    before = set(unpacker.top.parent.iterdir())
    with pytest.raises(BadArchive, match=message):
        unpacker(data)
    assert set(unpacker.top.parent.iterdir()) == before
    assert sum(len(content) for content in unpacker.files().values()) <= _MAX_BYTES


def test_zip64_is_refused(unpacker: Unpacker) -> None:
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    at = _PLAIN.index(_END)
    with pytest.raises(BadArchive, match="zip64"):
        unpacker(_PLAIN[:at] + locator + _PLAIN[at:])


def test_an_entry_without_a_name(unpacker: Unpacker) -> None:
    data = _zip(("x", b"1"))
    for record, length_at, name_at in ((_LOCAL, 26, 30), (_CENTRAL, 28, 46)):
        at = data.index(record)
        data = data[: at + length_at] + b"\0\0" + data[at + length_at + 2 :]
        data = data[: at + name_at] + data[at + name_at + 1 :]
    end = data.index(_END)
    directory = data.index(_CENTRAL)
    data = data[: end + 12] + struct.pack("<LL", end - directory, directory) + data[end + 20 :]
    with pytest.raises(BadArchive, match="empty"):
        unpacker(data)


async def test_a_box_bounds_what_is_unpacked(runner: Runner, tmp_path: Path) -> None:
    async with runner.sandbox.box(0) as box:
        await box.put("first", b"1")
        for name, data, message in [
            ("bytes", _zip(("a", bytes(BOX_BYTES + 1))), f"limit {BOX_BYTES}"),
            ("all bytes", _zip(("a", bytes(BOX_BYTES))), "full at 'a'"),
            (
                "files",
                _zip(*((f"{i}/{i}", b"") for i in range(BOX_INODES // 2 + 1))),
                "the work directory is full",
            ),
        ]:
            archive = tmp_path / f"{name}.zip"
            archive.write_bytes(data)
            with pytest.raises(BadArchive, match=message):
                await box.unpack(archive, "data")


async def test_files_put_into_a_box(runner: Runner, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 3 * MIB)
    async with runner.sandbox.box(0) as box:
        await box.put("small", b"1")
        await box.put("d/e/large", large)
        await box.put("d/e/bytes", large.read_bytes())
        ran = await runner.finish(
            box, runner.job("cat small; wc -c < d/e/large; cmp d/e/*; stat -c %U small d d/e/large")
        )
        assert ran.text == f"1{3 * MIB}\ntask\ntask\ntask\n"
        assert ran.outcome.reason is Reason.OK
    async with runner.sandbox.box(0) as box:
        for name in ("../x", "/x", "", "a/", "a\0b", "x" * 256):
            with pytest.raises(BadInput, match="refused"):
                await box.put(name, b"")
        with pytest.raises(BadInput, match="both a file and a folder"):
            await box.put("data", b"")
        with pytest.raises(BadInput, match=r"'x' \(\d+ bytes\) does not fit"):
            await box.put("x", bytes(BOX_BYTES + 1))
