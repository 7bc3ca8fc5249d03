"""Blobs that arrive bit by bit: at one gateway, at several, over connections that break."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from khala.client import AsyncKhala
from khala.model.blob import name_of
from khala.model.errors import NotFound, Unavailable
from khala.model.limits import MIB
from khala.model.upload import OPEN_UPLOADS
from tests.unit.gateway.conftest import MAX_BODY, Site
from tests.unit.gateway.test_blobs import url_of

SIZE = 10_240


@pytest.fixture
def data() -> bytes:
    """The store is that of all tests: nobody has sent these bytes before."""
    return os.urandom(SIZE)


async def begin(site: Site, size: int, **fields: object) -> tuple[int, dict[str, Any]]:
    document = {"size": size, **fields}
    async with site.http.post(site.url("/api/v2/uploads"), json=document) as response:
        body = await response.json(content_type=None)
        if response.status == 201:
            assert response.headers["Location"] == f"/api/v2/uploads/{body['id']}"
        return response.status, body


async def send(
    site: Site, upload: str, offset: int, data: bytes
) -> tuple[int, int | None, dict[str, Any]]:
    """Status, the offset of the answer, and its body."""
    where = site.url(f"/api/v2/uploads/{upload}")
    headers = {"Upload-Offset": str(offset)}
    async with site.http.patch(where, data=io.BytesIO(data), headers=headers) as response:
        told = response.headers.get("Upload-Offset")
        body = await response.read()
        return (
            response.status,
            int(told) if told is not None else None,
            await response.json(content_type=None) if body else {},
        )


async def offset_of(site: Site, upload: str) -> int:
    async with site.http.head(site.url(f"/api/v2/uploads/{upload}")) as response:
        assert response.status == 200
        return int(response.headers["Upload-Offset"])


async def read_blob(site: Site, name: str) -> bytes:
    async with site.http.get(url_of(site, name)) as response:
        assert response.status == 200
        return await response.read()


async def test_pieces_become_a_blob(site: Site, data: bytes) -> None:
    status, upload = await begin(site, SIZE, sha256=name_of(data))
    assert (status, upload["offset"], upload["size"]) == (201, 0, SIZE)
    known, blob = upload["id"], f"sha256:{name_of(data)}"
    at = 0
    for size in (1, 0, 999, 5000):
        assert await send(site, known, at, data[at : at + size]) == (204, at + size, {})
        at += size
        assert await offset_of(site, known) == at
    made = await send(site, known, at, data[at:])
    assert made == (201, SIZE, {"blob": blob, "size": SIZE})
    assert await read_blob(site, blob) == data
    async with site.http.get(site.url(f"/api/v2/uploads/{known}")) as response:
        assert (await response.json())["blob"] == blob
    # Whoever lost that answer gets it again.
    assert await send(site, known, SIZE, b"") == made


@pytest.mark.parametrize("size", [0, 1, 2 * MAX_BODY])
async def test_one_request_may_be_enough(site: Site, size: int) -> None:
    content = os.urandom(size)
    _, upload = await begin(site, size)
    status, _, made = await send(site, upload["id"], 0, content)
    assert (status, made) == (201, {"blob": f"sha256:{name_of(content)}", "size": size})
    assert await read_blob(site, made["blob"]) == content


async def test_another_offset_is_told_the_right_one(site: Site, data: bytes) -> None:
    _, upload = await begin(site, SIZE)
    await send(site, upload["id"], 0, data[:100])
    for offset in (0, 99, 101):
        status, told, problem = await send(site, upload["id"], offset, b"x" * MIB)
        assert (status, told, problem["code"]) == (409, 100, "offset_differs")
        assert f"100 bytes of upload {upload['id']} are stored" in problem["detail"]
    assert await offset_of(site, upload["id"]) == 100


@pytest.mark.parametrize("offset", ["", "-1", "1.5", "x", "9" * 20, "\xb2"])
async def test_what_is_no_offset(site: Site, offset: str) -> None:
    _, upload = await begin(site, 10)
    where = site.url(f"/api/v2/uploads/{upload['id']}")
    async with site.http.patch(where, data=b"x", headers={"Upload-Offset": offset}) as response:
        problem = await response.json(content_type=None)
        assert (response.status, problem["field"]) == (400, "Upload-Offset")


async def test_more_than_was_said_is_refused(site: Site) -> None:
    _, upload = await begin(site, 10)
    status, _, problem = await send(site, upload["id"], 0, b"x" * 11)
    assert (status, problem["code"]) == (400, "invalid_request")
    assert "begun with a size of 10 bytes" in problem["detail"]

    async def pieces() -> Any:
        yield b"x" * 11

    where = site.url(f"/api/v2/uploads/{upload['id']}")
    async with site.http.patch(where, data=pieces(), headers={"Upload-Offset": "0"}) as response:
        assert response.status == 400
    assert await offset_of(site, upload["id"]) == 0


async def test_other_bytes_than_the_name_says(site: Site) -> None:
    _, upload = await begin(site, 5, sha256=f"sha256:{name_of(b'these')}")
    await send(site, upload["id"], 0, b"ot")
    status, _, problem = await send(site, upload["id"], 2, b"her")
    assert (status, problem["code"]) == (422, "validation_failed")
    assert problem["errors"][0]["pointer"] == "/sha256"
    assert name_of(b"other") in problem["detail"] and name_of(b"these") in problem["detail"]
    async with site.http.head(site.url(f"/api/v2/uploads/{upload['id']}")) as response:
        assert response.status == 404
    for content in (b"these", b"other"):
        async with site.http.head(url_of(site, name_of(content))) as response:
            assert response.status == 404


async def test_beginnings_that_are_refused(site: Site) -> None:
    for document, status, pointer in (
        ({"size": -1}, 422, "/size"),
        ({"size": "1"}, 422, "/size"),
        ({}, 422, "/size"),
        ({"size": 1, "sha256": "x"}, 422, "/sha256"),
        ({"size": 1, "length": 1}, 422, "/length"),
        ({"size": 2 * MAX_BODY + 1}, 413, None),
    ):
        async with site.http.post(site.url("/api/v2/uploads"), json=document) as response:
            problem = await response.json(content_type=None)
            assert response.status == status, (document, problem)
            if pointer is not None:
                assert problem["errors"][0]["pointer"] == pointer


async def test_a_user_has_so_many_open(site: Site) -> None:
    uploads = [await begin(site, 1, user=77) for _ in range(OPEN_UPLOADS)]
    status, problem = await begin(site, 1, user=77)
    assert (status, problem["code"]) == (429, "quota_exceeded")
    where = site.url(f"/api/v2/uploads/{uploads[0][1]['id']}")
    async with site.http.delete(where) as response:
        assert response.status == 204
    async with site.http.delete(where) as response:
        assert response.status == 404
    assert (await begin(site, 1, user=77))[0] == 201


async def test_what_had_arrived_of_a_connection_that_breaks_is_kept(
    site: Site, data: bytes
) -> None:
    """Less than a chunk: or a line that breaks every few seconds would never get anywhere."""
    _, upload = await begin(site, SIZE)
    pause_s, at = 0.1, 0
    async with asyncio.timeout(60):
        while not at:  # the gateway has to have read it, which nobody here sees
            pause_s *= 2
            await break_off(site, upload["id"], data[:4000], pause_s)
            at = await offset_of(site, upload["id"])
    assert at <= 4000
    status, _, made = await send(site, upload["id"], at, data[at:])
    assert (status, made["blob"]) == (201, f"sha256:{name_of(data)}")


async def break_off(site: Site, upload: str, data: bytes, pause_s: float) -> None:
    """Send less than was announced, and leave; twice `pause_s`, for both to be noticed."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(site.base.rpartition(":")[2]))
    writer.write(
        f"PATCH /api/v2/uploads/{upload} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Upload-Offset: 0\r\nContent-Length: {SIZE}\r\n\r\n".encode()
        + data
    )
    await writer.drain()
    await asyncio.sleep(pause_s)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(pause_s)


async def test_chunks_are_whole_wherever_requests_end(
    site: Site, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        "roles.gateway.blobs",
        "roles.gateway.uploads",
        "khala.store.memory_uploads",
    ):
        monkeypatch.setattr(f"{module}.BLOB_CHUNK_BYTES", 1000)
    _, upload = await begin(site, SIZE)
    at = 0
    for size in (1500, 499, 1, 3000, 2500):
        status, told, _ = await send(site, upload["id"], at, data[at : at + size])
        at += size
        assert (status, told) == (204, at)
    status, _, made = await send(site, upload["id"], at, data[at:])
    assert (status, made["blob"]) == (201, f"sha256:{name_of(data)}")
    chunks = site.judicator.memory.blobs._state.uploads[upload["id"]]
    assert [len(chunks[n]) for n in range(len(chunks))] == [1000] * 10 + [240]


# ---- the client -----------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of several pieces, as the client sends them."""
    monkeypatch.setattr("khala.client.uploads.RESUMABLE_BYTES", 1000)
    monkeypatch.setattr("khala.client.uploads._PIECE_BYTES", 3000)
    path = tmp_path / "large"
    path.write_bytes(data)
    return path


async def test_the_client_sends_a_large_file_bit_by_bit(
    site: Site, data: bytes, large: Path
) -> None:
    steps: list[tuple[int, int]] = []
    async with AsyncKhala(site.base) as khala:
        name = await khala.put_file(large, progress=lambda *step: steps.append(step))
        assert name == f"sha256:{name_of(data)}"
        assert await khala.put_file(large) == name
    assert steps == [(at, SIZE) for at in (0, 3000, 6000, 9000, SIZE)]
    assert await read_blob(site, name) == data


async def test_the_client_goes_on_where_it_was(
    site: Site, data: bytes, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are lost behind what they answer, and requests before anybody has seen them."""
    whole = aiohttp.ClientSession._request
    tries = 0

    async def breaking(self: Any, method: str, *given: Any, **more: Any) -> Any:
        nonlocal tries
        if method != "PATCH":
            return await whole(self, method, *given, **more)
        tries += 1
        if tries % 3 == 1:
            raise aiohttp.ClientConnectionError("broken before")
        response = await whole(self, method, *given, **more)
        if tries % 3 == 2:
            response.close()
            raise aiohttp.ClientConnectionError("broken behind")
        return response

    async with AsyncKhala(site.base, patience_s=30) as khala:
        with monkeypatch.context() as patched:
            patched.setattr(aiohttp.ClientSession, "_request", breaking)
            name = await khala.put_file(large)
    assert tries > 4
    assert await read_blob(site, name) == data


async def test_the_client_goes_on_with_what_it_was_interrupted_in(
    site: Site, data: bytes, large: Path
) -> None:
    steps: list[int] = []

    def interrupt(at: int, _: int) -> None:
        if at == 6000:
            sending.cancel()

    async with AsyncKhala(site.base) as khala:
        sending = asyncio.ensure_future(khala.put_file(large, progress=interrupt))
        with pytest.raises(asyncio.CancelledError):
            await sending
        [begun] = [each for each in await khala.uploads() if each.sha256 == name_of(data)]
        assert (begun.offset, begun.size) == (6000, SIZE)
        name = await khala.put_file(large, progress=lambda at, _: steps.append(at))
        assert steps == [6000, 9000, SIZE]
        assert name_of(data) not in [each.sha256 for each in await khala.uploads()]
        assert await read_blob(site, name) == data


async def test_an_upload_is_dropped(site: Site) -> None:
    async with AsyncKhala(site.base) as khala:
        assert await khala.uploads(user=7) == []
        for _ in range(2):
            async with site.http.post(
                site.url("/api/v2/uploads"), json={"size": 5, "user": 7}
            ) as response:
                assert response.status == 201
        first, second = await khala.uploads(user=7)
        await khala.drop_upload(first.id)
        assert await khala.uploads(user=7) == [second]
        with pytest.raises(NotFound):
            await khala.drop_upload(first.id)


async def test_the_client_gives_up_when_nobody_answers(
    site: Site, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Any, *_: Any, **__: Any) -> Any:
        raise aiohttp.ClientConnectionError("broken")

    async with AsyncKhala(site.base, patience_s=0.5) as khala:
        with monkeypatch.context() as patched:
            patched.setattr(aiohttp.ClientSession, "_request", broken)
            with pytest.raises(Unavailable):
                await khala.put_file(large)


async def test_an_upload_that_there_is_not(site: Site) -> None:
    unknown = "0" * 24
    status, _, problem = await send(site, unknown, 0, b"x")
    assert (status, problem["code"]) == (404, "not_found")
    assert "its date is over" in problem["detail"]
    with pytest.raises(NotFound):
        async with AsyncKhala(site.base) as khala:
            await khala._offset_of(f"/api/v2/uploads/{unknown}")
    async with site.http.get(site.url("/api/v2/uploads/nothing")) as response:
        assert response.status == 400
