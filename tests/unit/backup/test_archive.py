"""The file: whole, or refused; never half of something under its name."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import bson
import msgspec
import pytest

from khala.model.errors import Rejected, Unavailable
from khala.store.copying import split
from roles.backup import archive
from roles.backup.archive import FORMAT, Manifest, Reader, Writer

SCHEMA = 5
MANIFEST = Manifest(
    format=FORMAT,
    version="1",
    schema=SCHEMA,
    cluster="c",
    created_at="2026-11-24T00:00:00Z",
    documents={"tasks": 3},
    parts=[],
)
ONE = bson.encode({"n": 1})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "saved.tar"


def save(path: Path, manifest: Manifest = MANIFEST) -> None:
    with Writer(path) as writer:
        writer.add("tasks", 2, ONE * 2)
        writer.add("tasks", 1, ONE)
        writer.add("outputs", 1, ONE)
        writer.finish(manifest)
        writer.publish()


def contents(path: Path) -> list[tuple[str, bytes]]:
    with Reader(path, schema=SCHEMA) as reader:
        return [(part.collection, data) for part, data in reader.parts()]


def test_what_was_added_comes_back_in_its_order(path: Path) -> None:
    save(path)
    assert contents(path) == [("tasks", ONE * 3), ("outputs", ONE)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_parts_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PART_BYTES", 2 * len(ONE))
    save(path)
    assert contents(path) == [("tasks", ONE * 2), ("tasks", ONE), ("outputs", ONE)]
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert names[:2] == ["tasks/000000.bson.gz", "tasks/000001.bson.gz"]
    assert names[-1] == "manifest.json"


def test_nothing_is_left_of_what_was_not_finished(path: Path) -> None:
    with Writer(path) as writer:
        writer.add("tasks", 1, ONE)
    assert list(path.parent.iterdir()) == []


def test_a_file_that_is_there_is_not_replaced(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(Rejected, match="replaces nothing"):
        Writer(path)
    assert path.read_text() == "mine"


def test_one_that_came_meanwhile_is_not_replaced_either(path: Path) -> None:
    with Writer(path) as writer:
        writer.finish(MANIFEST)
        path.write_text("mine")
        with pytest.raises(Unavailable):
            writer.publish()
    assert path.read_text() == "mine"


def _cut(data: bytes) -> bytes:
    return data[: data.rindex(b"manifest.json") // 2]


def _without_end(data: bytes) -> bytes:
    return data[: data.rindex(b"manifest.json")]


def _flipped(data: bytes) -> bytes:
    at = data.index(b"\x1f\x8b") + 14  # inside the compressed documents
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage", [_cut, _without_end, _flipped, lambda _: b"", lambda _: b"x" * 9]
)
def test_damage_is_found(path: Path, damage: Callable[[bytes], bytes]) -> None:
    save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Rejected, match="damaged"):
        contents(path)


def test_a_part_inflates_to_no_more_than_was_promised(path: Path) -> None:
    """Whoever can change a manifest can change a hash; a bomb must not get further than that."""
    with Writer(path) as writer:
        writer.add("tasks", 1, bytes(50_000_000))
        [part] = writer.finish(MANIFEST).parts
        writer.publish()
    with Reader(path, schema=SCHEMA) as reader:
        reader.manifest.parts[:] = [msgspec.structs.replace(part, size_bytes=1000)]
        with pytest.raises(Rejected, match="not what was written"):
            list(reader.parts())


@pytest.mark.parametrize("change", [{"format": FORMAT + 1}, {"schema": SCHEMA + 1}])
def test_a_newer_one_is_left_to_a_newer_khala(path: Path, change: dict[str, int]) -> None:
    save(path, msgspec.structs.replace(MANIFEST, **change))
    with pytest.raises(Rejected, match="newer"):
        Reader(path, schema=SCHEMA)


@pytest.mark.parametrize("data", [ONE[:-1], ONE + b"\x01", b"\x00" * 8, ONE[:4] + b"\xff" * 20])
def test_bytes_that_are_no_documents_are_refused(data: bytes) -> None:
    with pytest.raises(Rejected, match="damaged"):
        list(split(data))
