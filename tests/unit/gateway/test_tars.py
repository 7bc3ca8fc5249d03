"""Tar archives become entries: what is plain is taken, what is odd is refused, and it ends."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khala.model.limits import TAR_BYTES
from khala.model.spec import Part
from roles.gateway import tars
from roles.gateway.archives import write_archive
from roles.gateway.tars import entries_of_tar
from tests.unit.gateway.documents import SMALLEST, issue_of, task_of, unzip

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def tar_of(*members: tuple[str, bytes], kind: int = tarfile.PAX_FORMAT, mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def odd(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("way/out")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


def read(archive: bytes, folder: str = "") -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(write_archive(entries_of_tar(archive, folder))))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda data: gzip.compress(data) + b"\0" * 9]
)
def test_files_folders_and_modes_survive(kind: int, pack: object) -> None:
    long = "d" * 90 + "/" + "é" * 70 if kind != tarfile.USTAR_FORMAT else "d/é"
    archive = tar_of(
        (".", b""),
        ("./run", b"echo"),
        ("empty/", b""),
        (long, b"x" * 70_000),
        kind=kind,
        mode=0o755,
    )
    found = read(pack(archive), "lib")  # type: ignore[operator]
    assert found.testzip() is None
    assert found.namelist() == ["lib/run", "lib/empty/", f"lib/{long}"]
    assert found.read(f"lib/{long}") == b"x" * 70_000
    assert (found.getinfo("lib/run").external_attr >> 16) & 0o111


def test_a_gzip_file_of_several_members() -> None:
    archive = tar_of(("a", b"1" * 5000))
    both = gzip.compress(archive[:700]) + gzip.compress(archive[700:])
    assert read(both).read("a") == b"1" * 5000


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_what_is_no_file_is_refused_by_name(kind: bytes) -> None:
    with pytest.raises(ValueError, match="way/out"):
        list(entries_of_tar(odd(kind), ""))


def test_a_sparse_file_is_not_filled_with_zeros() -> None:
    """64 GB of nothing, in a kilobyte."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("hole")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(64 << 30)}
        archive.addfile(info)
    with pytest.raises(ValueError, match="hole"):
        list(entries_of_tar(buffer.getvalue(), ""))


def test_what_inflates_to_too_much_is_refused() -> None:
    bomb = gzip.compress(tar_of(("zeros", bytes(TAR_BYTES))))
    assert len(bomb) < TAR_BYTES // 500
    with pytest.raises(ValueError, match=r"inflates to more than 64 MiB; send a zip"):
        list(entries_of_tar(bomb, ""))


def test_many_members_of_nothing_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "ARCHIVE_ENTRIES", 3)
    files = [(f"f{n}", b"") for n in range(4)]
    assert len(list(entries_of_tar(tar_of(*files[:3]), ""))) == 3
    with pytest.raises(ValueError, match="more than 3 entries"):
        list(entries_of_tar(tar_of(*files), ""))


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="is not UTF-8"):
        list(entries_of_tar(tar_of(("a\udcff", b""), kind=tarfile.GNU_FORMAT), ""))


def with_size(size: str) -> bytes:
    """A pax header overrides the size in the header."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("back")
        info.pax_headers = {"size": size}
        archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize("size", ["-512", "-1024", "-1536", "-2048", "99999999999999999999"])
def test_a_size_that_leads_anywhere_ends(size: str) -> None:
    with pytest.raises(ValueError, match="tar archive"):
        list(entries_of_tar(with_size(size), ""))


def test_a_header_with_a_size_below_zero_ends() -> None:
    data = bytearray(tar_of(("a", b"")))
    data[124:136] = b"\xff" * 11 + b"\x00"  # -256, to the base of 256
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    with pytest.raises(ValueError, match="tar archive"):
        list(entries_of_tar(bytes(data), ""))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no tar",
        b"\x1f\x8b",
        gzip.compress(b"no tar" * 200),
        gzip.compress(tar_of(("a", b"1")))[:-20],
        tar_of(("a", b"1" * 2000))[:1200],
    ],
)
def test_what_is_broken_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="tar archive"):
        list(entries_of_tar(data, ""))


@given(st.data())
def test_nothing_else_is_ever_raised(data: st.DataObject) -> None:
    whole = bytearray(tar_of(("a", b"1" * 600), ("b/", b""), ("x" * 120, b"2")))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        entries = list(entries_of_tar(bytes(whole), ""))
    except ValueError:
        return
    assert sum(len(entry.stored) for entry in entries) <= len(whole)


def test_a_task_gets_the_files_of_its_tar_archive() -> None:
    archive = gzip.compress(tar_of(("main.c", b"int main;"), ("./h/a.h", b"//")))
    document = {
        **SMALLEST,
        "sources": [{"part": "all", "unpack": "tar"}, {"path": "x", "text": ""}],
    }
    task = task_of(document, {"all": archive})
    assert unzip(task.parts[Part.COMPILE_SOURCE]) == {
        "main.c": b"int main;",
        "h/a.h": b"//",
        "x": b"",
    }


def test_the_fault_names_the_source() -> None:
    document = {**SMALLEST, "sources": [{"part": "all", "unpack": "tar"}]}
    issue = issue_of(document, {"all": odd(tarfile.SYMTYPE)})
    assert (issue.pointer, issue.code) == ("/sources/0", "invalid_value")
    assert "way/out" in issue.detail
