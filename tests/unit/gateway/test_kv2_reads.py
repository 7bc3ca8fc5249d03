"""Reading through the façade: texts, files, lists, nodes."""

from __future__ import annotations

import json

import msgspec
import pytest

from khala.model.ids import TaskId
from khala.model.outcome import Reason, Stream, StreamRef
from tests.unit.gateway.conftest import Site
from tests.unit.gateway.test_kv2 import UNKNOWN, ended, get_text, task_of


@pytest.mark.parametrize(
    ("length", "shown"), [(999, 999), (1000, 1000), (1001, 1003), (20_000, 1003)]
)
@pytest.mark.parametrize("letter", ["x", "é", "😀"])
async def test_long_texts_are_cut(site: Site, letter: str, *, length: int, shown: int) -> None:
    text = letter * length
    task = site.judicator.add(task_of(execute_input=text.encode()))
    cut = json.loads((await get_text(site, f"/api/task?id={task.id}"))[1])
    assert len(cut["task"]["execute"]["input"]) == shown
    assert cut["task"]["execute"]["input"].endswith("...") == (length > 1000)
    whole = json.loads((await get_text(site, f"/api/task?id={task.id}&no_truncate=0"))[1])
    assert whole["task"]["execute"]["input"] == text


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
async def test_downloads_are_exact(site: Site, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    inline = size < 16384
    ref = StreamRef(size_bytes=size, inline=data if inline else None)
    outcome = msgspec.structs.replace(ended(Reason.OK), streams={Stream.EXECUTE_OUTPUT: ref})
    task = site.judicator.add(task_of(), outcome)
    site.judicator.store(task, Stream.EXECUTE_OUTPUT, data)
    path = site.url(f"/api/task?id={task.id}&file=execute_output")
    async with site.http.get(path) as response:
        assert await response.read() == data
        headers = dict(response.headers)
    async with site.http.head(path) as response:
        assert response.headers["Content-Length"] == str(size)
    assert headers["Content-Type"] == "plain/text"
    assert headers["Content-Length"] == str(size)
    assert headers["Content-Disposition"] == (f"attachment; filename={task.id}_execute_output.txt")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("file", ["compile_output", "execute_data", "nope", "../etc", "id"])
async def test_files_that_are_not_there(site: Site, file: str) -> None:
    task = site.judicator.add(task_of(compile_command=b"x"))
    status, text = await get_text(site, f"/api/task?id={task.id}&file={file}")
    assert status == 404
    assert text.startswith("<!DOCTYPE HTML PUBLIC")


async def test_an_empty_file_name_asks_for_the_task(site: Site) -> None:
    task = site.judicator.add(task_of())
    status, text = await get_text(site, f"/api/task?id={task.id}&file=")
    assert (status, json.loads(text)["result"]) == (200, 0)


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("id=", '{"pages":0,"result":4,"tasks":[]}\n'),
        ("id=ABCDEF0123456789ABCDEF01", '{"pages":0,"result":4,"tasks":[]}\n'),
        ("user=", '{"pages":0,"result":4,"tasks":[]}\n'),
        ("limit=", '{"pages":0,"result":4,"tasks":[]}\n'),
        ("page=", '{"pages":0,"result":4,"tasks":[]}\n'),
        ("start_time=never", '{"pages":0,"result":4,"tasks":[]}\n'),
        ("start_time=", '{"pages":0,"result":0,"tasks":[]}\n'),
        (f"id={UNKNOWN}", '{"pages":0,"result":0,"tasks":[]}\n'),
    ],
)
async def test_filters(site: Site, query: str, body: str) -> None:
    assert await get_text(site, f"/api/task/list?{query}") == (200, body)


async def test_pages(site: Site) -> None:
    ids = [site.judicator.add(task_of()).id for _ in range(7)]
    for query, pages, shown in [
        ("limit=3", 3, ids[:3:-1]),
        ("limit=3&page=2", 3, ids[:1]),
        ("limit=3&page=9", 3, []),
        ("limit=0&page=5", 1, ids[::-1]),
        ("limit=2147483647&page=2147483647", 1, []),
        ("old_to_new=0&limit=2", 4, ids[:2]),
        ("old_to_new=&limit=2", 4, ids[:-3:-1]),
    ]:
        body = json.loads((await get_text(site, f"/api/task/list?{query}"))[1])
        assert (body["pages"], [TaskId(row["id"]) for row in body["tasks"]]) == (pages, shown)


async def test_times_are_utc(site: Site) -> None:
    for text in [
        "2026-11-24T00:04:08.615",
        "2026-11-24T00:04:08.615Z",
        "2026-11-24T02:04:08.615%2B02:00",
    ]:
        await get_text(site, f"/api/task/list?start_time={text}")
    starts = {query.start.isoformat() for query in site.judicator.searched if query.start}
    assert starts == {"2026-11-24T00:04:08.615000+00:00"}


async def test_nodes(site: Site) -> None:
    executors = (
        '{"executors":[{"hostname":"executor.1","id":"6b04d4787d852fb9eb7f7a4e",'
        '"report_time":"2026-11-24T00:04:08.615000"}],"result":0}\n'
    )
    assert await get_text(site, "/api/executors") == (200, executors)
    judicators = (
        f'{{"judicators":[{{"address":"{site.judicator.address}",'
        '"name":"/judicator/service/judicator"}],"result":0}\n'
    )
    assert await get_text(site, "/api/judicators") == (200, judicators)
