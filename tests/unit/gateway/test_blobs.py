"""Sending blobs, reading them, and naming them in task documents."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from khala.client import AsyncKhala
from khala.model.blob import name_of
from khala.model.errors import Unavailable
from khala.model.limits import BLOB_CHUNK_BYTES
from khala.model.spec import Part
from khala.store.memory import MemoryStore
from tests.unit.gateway.conftest import MAX_BODY, Site
from tests.unit.gateway.documents import unzip, zip_of

MISSING = "sha256:" + "0" * 64


def url_of(site: Site, name: str) -> str:
    return site.url(f"/api/v2/blobs/{name}")


async def put(site: Site, data: bytes, name: str | None = None) -> tuple[int, dict[str, Any]]:
    where = url_of(site, name or name_of(data))
    async with site.http.put(where, data=io.BytesIO(data)) as response:
        return response.status, await response.json(content_type=None)


async def create(site: Site, query: str = "", **fields: object) -> tuple[int, dict[str, Any]]:
    document = {"stages": {"execute": {"command": "true"}}, **fields}
    async with site.http.post(site.url(f"/api/v2/tasks{query}"), json=document) as response:
        return response.status, await response.json(content_type=None)


async def test_sent_once_and_read_again(site: Site) -> None:
    data = b"0123456789" * 1000
    name = f"sha256:{name_of(data)}"
    assert await put(site, data) == (201, {"blob": name, "size": 10_000})
    assert await put(site, data) == (200, {"blob": name, "size": 10_000})
    async with site.http.get(url_of(site, name)) as response:
        assert await response.read() == data
        assert response.headers["ETag"] == f'"{name_of(data)}"'
        assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    async with site.http.head(url_of(site, name)) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "10000")


async def test_an_empty_blob(site: Site) -> None:
    assert (await put(site, b""))[0] in (200, 201)
    async with site.http.get(url_of(site, name_of(b""))) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_a_body_without_a_length_in_odd_pieces(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roles.gateway.blobs.BLOB_CHUNK_BYTES", 1000)

    async def pieces() -> AsyncIterator[bytes]:
        for n in range(50):
            yield bytes([n]) * 333

    data = b"".join([piece async for piece in pieces()])
    async with site.http.put(url_of(site, name_of(data)), data=pieces()) as response:
        assert response.status == 201
    async with site.http.get(url_of(site, name_of(data))) as response:
        assert await response.read() == data


async def test_other_bytes_than_the_name_says_are_not_kept(site: Site) -> None:
    status, problem = await put(site, b"other", name_of(b"these"))
    assert (status, problem["code"], problem["field"]) == (400, "invalid_request", "sha256")
    assert name_of(b"other") in problem["detail"]
    assert name_of(b"these") in problem["detail"]
    for data in (b"these", b"other"):
        async with site.http.head(url_of(site, name_of(data))) as response:
            assert response.status == 404


async def test_a_blob_above_the_limit(site: Site) -> None:
    data = b"x" * (2 * MAX_BODY + 1)
    status, problem = await put(site, data)
    assert (status, problem["code"]) == (413, "too_large")
    assert f"the limit of {2 * MAX_BODY} bytes (--max-blob)" in problem["detail"]

    async def pieces() -> AsyncIterator[bytes]:
        yield data

    async with site.http.put(url_of(site, name_of(data)), data=pieces()) as response:
        assert response.status == 413


@pytest.mark.parametrize("name", ["0" * 63, "0" * 65, "md5:" + "0" * 64, "A" * 64, "x"])
async def test_what_is_no_name(site: Site, name: str) -> None:
    for method in ("GET", "PUT"):
        async with site.http.request(method, url_of(site, name)) as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem["field"]) == (400, "blob")
            assert "the 64 digits (0-9, a-f) of its SHA-256" in problem["detail"]


async def test_an_upload_that_breaks_off_leaves_nothing(site: Site) -> None:
    store: MemoryStore = site.judicator.memory
    known = dict(store.blobs._state.blobs)
    data = b"z" * (BLOB_CHUNK_BYTES // 8)
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", int(site.base.rpartition(":")[2]))
        writer.write(
            f"PUT /api/v2/blobs/{name_of(data)} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data[:-1]
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await put(site, b"after")) == (
        201,
        {"blob": f"sha256:{name_of(b'after')}", "size": 5},
    )
    assert store.blobs._state.blobs.keys() == known.keys() | {name_of(b"after")}


async def test_a_task_names_blobs_and_they_are_not_sent_again(site: Site) -> None:
    stdin, archive = b"in" * 100, zip_of({"a.txt": b"A"})
    for data in (stdin, archive):
        await put(site, data)
    names = {data: f"sha256:{name_of(data)}" for data in (stdin, archive)}
    status, _ = await create(
        site,
        stdin={"blob": names[stdin]},
        expect={"stdout": {"blob": names[stdin]}},
        sources=[{"blob": names[archive], "unpack": "zip"}],
    )
    assert status == 201
    [task] = site.judicator.submitted
    assert task.blobs == {
        Part.EXECUTE_INPUT: name_of(stdin),
        Part.EXECUTE_STANDARD: name_of(stdin),
        Part.COMPILE_SOURCE: name_of(archive),
    }
    assert [part for part, data in task.parts.items() if data] == [Part.EXECUTE_COMMAND]


async def test_a_blob_among_other_files(site: Site) -> None:
    big, archive = b"B" * 5000, zip_of({"x/y.txt": b"Y"})
    for data in (big, archive):
        await put(site, data)
    status, _ = await create(
        site,
        sources=[
            {"path": "main.py", "text": "print(1)"},
            {"path": "big.bin", "blob": f"sha256:{name_of(big)}"},
            {"path": "lib", "blob": f"sha256:{name_of(archive)}", "unpack": "zip"},
        ],
    )
    assert status == 201
    [task] = site.judicator.submitted
    assert task.blobs == {}
    assert unzip(task.parts[Part.COMPILE_SOURCE]) == {
        "main.py": b"print(1)",
        "big.bin": big,
        "lib/x/y.txt": b"Y",
    }


async def test_what_would_be_fetched_is_bounded(site: Site) -> None:
    big = b"B" * (MAX_BODY + 1)
    await put(site, big)
    name = f"sha256:{name_of(big)}"
    status, problem = await create(site, sources=[{"path": "a", "blob": name}])
    assert (status, problem["code"]) == (413, "too_large")
    assert f"have {MAX_BODY + 1} bytes, the limit is {MAX_BODY}" in problem["detail"]
    assert (await create(site, stdin={"blob": name}))[0] == 201


async def test_faults_in_names_are_told_with_their_pointers(site: Site) -> None:
    status, problem = await create(
        site,
        stdin={"blob": MISSING},
        sources=[{"path": "a", "blob": "nonsense"}, {"path": "b", "blob": MISSING, "text": ""}],
    )
    assert status == 422
    faults = {(each["pointer"], each["code"]) for each in problem["errors"]}
    assert faults == {
        ("/stdin/blob", "no_such_blob"),
        ("/sources/0/blob", "invalid_value"),
        ("/sources/1", "invalid_value"),
    }
    [missing] = [each for each in problem["errors"] if each["code"] == "no_such_blob"]
    assert missing["detail"].endswith(f"send it with PUT /api/v2/blobs/{'0' * 64}")


async def test_a_dry_run_tells_the_size_of_a_blob(site: Site) -> None:
    await put(site, b"12345")
    name = f"sha256:{name_of(b'12345')}"
    status, plan = await create(site, "?dry_run=true", stdin={"blob": name})
    assert (status, plan["inputs"]["execute_input"]) == (200, 5)


async def test_a_cluster_that_cannot_store_now(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable("no judicator answers")

    monkeypatch.setattr("khala.net.blob_client.BlobClient.put_blob_chunk", fail)
    status, problem = await put(site, b"cannot be stored")
    assert (status, problem["code"]) == (503, "unavailable")
    monkeypatch.undo()
    assert (await put(site, b"cannot be stored"))[0] == 201


async def test_the_client_sends_and_reads_blobs(site: Site) -> None:
    async with AsyncKhala(site.base) as khala:
        name = await khala.put_blob(b"from the client")
        assert name == f"sha256:{name_of(b'from the client')}"
        async with khala.open_blob(name) as pieces:
            assert b"".join([piece async for piece in pieces]) == b"from the client"
