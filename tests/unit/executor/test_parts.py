"""Blobs on an executor: fetched once, checked, bounded, and of use after a kill."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from khala.model.blob import BlobName, name_of
from khala.model.errors import Unavailable
from khala.model.ids import TaskId
from khala.model.spec import Part, PartRef
from roles.executor.parts import Parts

TASK = TaskId("6b04d4787d852fb9eb7f7a4e")
PART = Part.COMPILE_SOURCE


class Source:
    """Judicators that have these blobs."""

    def __init__(self, *contents: bytes) -> None:
        self.blobs = {name_of(data): data for data in contents}
        self.opened: Counter[BlobName] = Counter()
        self.old = b"stored by its task"

    @asynccontextmanager
    async def open_blob(self, name: BlobName) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened[name] += 1
        yield _pieces(self.blobs[name])

    @asynccontextmanager
    async def open_part(self, task: TaskId, part: Part) -> AsyncIterator[AsyncIterator[bytes]]:
        yield _pieces(self.old)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 7):
        await asyncio.sleep(0)
        yield data[start : start + 7]


def ref_of(data: bytes) -> PartRef:
    return PartRef(size_bytes=len(data), sha256=name_of(data), blob=True)


def opened(source: Source, tmp_path: Path, max_bytes: int = 1000) -> Parts:
    parts = Parts(source, tmp_path / "blobs", max_bytes)
    parts.open()
    return parts


def kept(tmp_path: Path) -> set[str]:
    return set(os.listdir(tmp_path / "blobs"))


async def placed(parts: Parts, data: bytes, path: Path) -> bytes:
    await parts.place(TASK, PART, ref_of(data), path)
    return path.read_bytes()


async def test_a_blob_is_fetched_once_however_many_want_it_at_once(tmp_path: Path) -> None:
    data = b"x" * 100
    source = Source(data)
    parts = opened(source, tmp_path)
    paths = [tmp_path / str(n) for n in range(10)]
    assert await asyncio.gather(*(placed(parts, data, path) for path in paths)) == [data] * 10
    assert source.opened == {name_of(data): 1}
    assert (parts.size_bytes, kept(tmp_path)) == (100, {name_of(data)})
    for path in paths:
        path.unlink()
    assert await placed(parts, data, paths[0]) == data


async def test_room_is_made_by_last_use_and_takes_nothing_from_who_has_it(tmp_path: Path) -> None:
    first, second, third = (bytes([n]) * 400 for n in range(3))
    source = Source(first, second, third)
    parts = opened(source, tmp_path)
    await placed(parts, first, tmp_path / "1")
    await placed(parts, second, tmp_path / "2")
    await placed(parts, first, tmp_path / "3")
    await placed(parts, third, tmp_path / "4")
    assert kept(tmp_path) == {name_of(first), name_of(third)}
    assert parts.size_bytes == 800
    assert (tmp_path / "2").read_bytes() == second
    await placed(parts, second, tmp_path / "5")
    assert source.opened[name_of(second)] == 2


async def test_what_is_larger_than_the_bound_is_not_kept(tmp_path: Path) -> None:
    data = b"x" * 1001
    parts = opened(Source(data), tmp_path)
    assert await placed(parts, data, tmp_path / "1") == data
    assert (parts.size_bytes, kept(tmp_path)) == (0, set())


@pytest.mark.parametrize("sent", [b"y" * 100, b"x" * 99, b"x" * 101, b""])
async def test_other_bytes_are_refused_and_not_kept(tmp_path: Path, sent: bytes) -> None:
    data = b"x" * 100
    source = Source(data)
    source.blobs[name_of(data)] = sent
    parts = opened(source, tmp_path)
    with pytest.raises(Unavailable, match="arrived"):
        await placed(parts, data, tmp_path / "1")
    assert (parts.size_bytes, kept(tmp_path)) == (0, set())
    source.blobs[name_of(data)] = data
    assert await placed(parts, data, tmp_path / "2") == data


async def test_a_later_life_uses_what_is_whole_and_nothing_else(tmp_path: Path) -> None:
    whole, damaged = b"w" * 100, b"d" * 100
    source = Source(whole, damaged)
    parts = opened(source, tmp_path)
    await placed(parts, whole, tmp_path / "1")
    await placed(parts, damaged, tmp_path / "2")
    (tmp_path / "blobs" / "0.new").write_bytes(b"a fetch that was killed")
    (tmp_path / "blobs" / name_of(damaged)).write_bytes(b"D" * 100)
    parts = opened(source, tmp_path)
    assert parts.size_bytes == 200
    assert await placed(parts, whole, tmp_path / "3") == whole
    assert await placed(parts, damaged, tmp_path / "4") == damaged
    assert source.opened == {name_of(whole): 1, name_of(damaged): 2}
    assert kept(tmp_path) == {name_of(whole), name_of(damaged)}


async def test_a_lower_bound_holds_from_the_start(tmp_path: Path) -> None:
    data = b"x" * 100
    await placed(opened(Source(data), tmp_path), data, tmp_path / "1")
    assert opened(Source(), tmp_path, max_bytes=99).size_bytes == 0
    assert kept(tmp_path) == set()


async def test_a_file_that_somebody_removed_is_fetched_again(tmp_path: Path) -> None:
    data = b"x" * 100
    source = Source(data)
    parts = opened(source, tmp_path)
    await placed(parts, data, tmp_path / "1")
    (tmp_path / "blobs" / name_of(data)).unlink()
    assert await placed(parts, data, tmp_path / "2") == data
    assert parts.size_bytes == 100


async def test_nothing_is_kept_when_the_disk_is_full(tmp_path: Path) -> None:
    data = b"x" * 100
    parts = opened(Source(data), tmp_path)
    await placed(parts, data, tmp_path / "1")
    parts.clear()
    assert (parts.size_bytes, kept(tmp_path)) == (0, set())
    assert (tmp_path / "1").read_bytes() == data


async def test_a_part_of_an_older_version_comes_by_its_task(tmp_path: Path) -> None:
    source = Source()
    ref = PartRef(size_bytes=len(source.old), sha256=name_of(source.old))
    parts = opened(source, tmp_path)
    await parts.place(TASK, PART, ref, tmp_path / "1")
    assert (tmp_path / "1").read_bytes() == source.old
    assert kept(tmp_path) == set()
