"""Artifacts on their way to a client: the list, one of them, a part of one, all as a zip."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from khala.model.errors import Unavailable
from khala.model.outcome import ArtifactRef, Artifacts, Ending, LeftOut, Omission, Outcome, Reason
from khala.model.task import Task
from roles.gateway.zipping import Zip, safe_name
from tests.unit.gateway.conftest import Site, break_with
from tests.unit.gateway.test_kv2 import UNKNOWN, task_of

WHEN = 1_700_000_000
FILES = {
    b"empty": b"",
    b"log.txt": b"0123456789",
    b"out/a b.txt": b"spaced",
    b'out/two\nlines\xff"%41': b"odd",
    "out/ü".encode(): b"u" * 300_000,
}


def ref_of(name: bytes, data: bytes) -> ArtifactRef:
    return ArtifactRef(
        name=name,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).digest(),
        crc32=zlib.crc32(data),
        modified_s=WHEN,
        executable=name == b"log.txt",
    )


def done_task(site: Site, files: dict[bytes, bytes]) -> Task:
    artifacts = Artifacts(
        chunk_bytes=1,
        files=tuple(ref_of(name, data) for name, data in files.items()),
        left_out={Omission.TOO_LARGE: LeftOut(count=2, names=(b"huge\xff",))},
    )
    outcome = Outcome(ending=Ending.FAILED, reason=Reason.EXIT_NONZERO, artifacts=artifacts)
    task = site.judicator.add(task_of(), outcome)
    site.judicator.stored[task.id, "artifacts"] = b"".join(files.values())
    return task


async def test_the_list_leads_to_every_file(site: Site) -> None:
    task = done_task(site, FILES)
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}/artifacts")) as response:
        assert response.status == 200
        listed = await response.json()
    assert listed["size"] == sum(map(len, FILES.values()))
    assert listed["left_out"] == [{"reason": "too_large", "count": 2, "names": ["huge\ufffd"]}]
    assert listed["files"][1] == {
        "name": "log.txt",
        "href": f"/api/v2/tasks/{task.id}/artifacts/log.txt",
        "size": 10,
        "sha256": hashlib.sha256(b"0123456789").hexdigest(),
        "executable": True,
        "modified_at": "2023-11-14T22:13:20.000Z",
    }
    for file, (name, data) in zip(listed["files"], FILES.items(), strict=True):
        assert file["name"] == name.decode(errors="replace")
        address = URL(site.url(file["href"]), encoded=True)
        async with site.http.get(address) as response:
            assert response.status == 200, name
            assert await response.read() == data
            headers = response.headers
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"].startswith("attachment; ")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in headers["Content-Security-Policy"]
        assert headers["Content-Length"] == str(len(data))
        async with site.http.head(address) as response:
            assert response.status == 200
            assert response.headers["Content-Length"] == str(len(data))


async def test_the_task_says_how_many_there_are(site: Site) -> None:
    task = done_task(site, FILES)
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}")) as response:
        shown = (await response.json())["artifacts"]
    assert shown["files"] == len(FILES)
    assert shown["left_out"][0]["count"] == 2
    other = site.judicator.add(task_of())
    async with site.http.get(site.url(f"/api/v2/tasks/{other.id}")) as response:
        assert (await response.json())["artifacts"] is None


@pytest.mark.parametrize(
    ("asked", "status", "data", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 200, b"0123456789", None),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_a_part_of_a_file(
    site: Site, asked: str, status: int, data: bytes, content_range: str | None
) -> None:
    task = done_task(site, {b"before": b"xx", b"log.txt": b"0123456789", b"after": b"y"})
    url = site.url(f"/api/v2/tasks/{task.id}/artifacts/log.txt")
    async with site.http.get(url, headers={"Range": asked}) as response:
        assert response.status == status
        assert await response.read() == data
        assert response.headers.get("Content-Range") == content_range
    # No more is fetched than is passed on.
    assert [size for _, size in site.judicator.ranges] == ([len(data)] if data else [])


async def test_a_part_only_of_what_was_seen_before(site: Site) -> None:
    task = done_task(site, {b"log.txt": b"0123456789"})
    url = site.url(f"/api/v2/tasks/{task.id}/artifacts/log.txt")
    async with site.http.head(url) as response:
        etag = response.headers["ETag"]
    for tag, status in ((etag, 206), ('"other"', 200)):
        headers = {"Range": "bytes=1-1", "If-Range": tag}
        async with site.http.get(url, headers=headers) as response:
            assert response.status == status


async def test_all_of_them_as_a_zip(site: Site, tmp_path: Path) -> None:
    task = done_task(site, FILES)
    url = site.url(f"/api/v2/tasks/{task.id}/artifacts.zip")
    async with site.http.head(url) as response:
        length = int(response.headers["Content-Length"])
    async with site.http.get(url) as response:
        assert response.headers["Content-Type"] == "application/zip"
        data = await response.read()
    assert len(data) == length
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert [archive.read(name) for name in archive.namelist()] == list(FILES.values())
        assert archive.namelist()[3] == "out/two%0Alines%FF%22%2541"
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
        assert modes["log.txt"] == stat.S_IFREG | 0o755
        assert modes["empty"] == stat.S_IFREG | 0o644
        assert archive.infolist()[0].date_time == (2023, 11, 14, 22, 13, 20)
        archive.extractall(tmp_path / "extracted")
    assert (tmp_path / "extracted" / "out" / "ü").read_bytes() == FILES["out/ü".encode()]


async def test_nothing_there(site: Site) -> None:
    task = done_task(site, FILES)
    waiting = site.judicator.add(task_of())
    for path, why in (
        (f"{task.id}/artifacts/other", "left no artifact 'other'"),
        (f"{task.id}/artifacts/%FF", "left no artifact"),
        (f"{waiting.id}/artifacts", "has not ended"),
        (f"{waiting.id}/artifacts.zip", "has not ended"),
        (f"{UNKNOWN}/artifacts", "does not exist"),
    ):
        async with site.http.get(site.url(f"/api/v2/tasks/{path}")) as response:
            assert response.status == 404, path
            assert why in json.loads(await response.read())["detail"]
    none = site.judicator.add(task_of(), Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK))
    async with site.http.get(site.url(f"/api/v2/tasks/{none.id}/artifacts")) as response:
        assert await response.json() == {"files": [], "size": 0, "left_out": []}
    site.judicator.stored[none.id, "artifacts"] = b""
    async with site.http.get(site.url(f"/api/v2/tasks/{none.id}/artifacts.zip")) as response:
        assert zipfile.ZipFile(io.BytesIO(await response.read())).namelist() == []


async def test_a_cluster_that_cannot_answer(site: Site) -> None:
    task = done_task(site, FILES)
    await break_with(site, Unavailable("not now"))
    async with site.http.get(site.url(f"/api/v2/tasks/{task.id}/artifacts/log.txt")) as response:
        assert response.status == 503


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=2, max_size=2, unique=True))
def test_safe_names_stay_different(names: list[bytes]) -> None:
    first, second = (safe_name(name) for name in names)
    assert first != second
    for name in (first, second):
        name.encode()
        assert not set(name) & set('\\:*?"<>|\n\r\t\x00\x1b')


async def _pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_pieces_of_any_size_make_the_same_zip(size: int, tmp_path: Path) -> None:
    files = {b"a": b"12345", b"b": b"", b"c": b"678", b"d": b""}
    archive = Zip([ref_of(name, data) for name, data in files.items()])
    whole = b"".join(files.values())
    written = b"".join([piece async for piece in archive.write(_pieces(whole, size))])
    assert len(written) == archive.size_bytes
    path = tmp_path / "a.zip"
    path.write_bytes(written)
    with zipfile.ZipFile(path) as opened:
        assert {name.encode(): opened.read(name) for name in opened.namelist()} == files


async def test_contents_that_end_too_early_are_not_passed_off_as_whole() -> None:
    archive = Zip([ref_of(b"a", b"12345")])
    with pytest.raises(Unavailable):
        [piece async for piece in archive.write(_pieces(b"123", 10))]
