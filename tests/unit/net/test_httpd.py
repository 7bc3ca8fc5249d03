"""The server's promises that no single role owns: failures, methods, limits, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
import pytest_asyncio
from sanic import Request
from sanic.response import HTTPResponse, text

from khala.model.errors import (
    AlreadyDone,
    Conflict,
    InvariantBroken,
    KhalaError,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    TooLarge,
    Unavailable,
)
from khala.net.httpd import Bind, Failure, Routes, Server, create_app, serve

BODY = 1000


def render(_: Request, failure: Failure) -> HTTPResponse:
    return text(failure.error.message, status=failure.status, headers=failure.headers)


@dataclass(slots=True)
class Running:
    http: aiohttp.ClientSession
    server: Server
    base: str
    #: What `/raise` raises.
    raises: list[Exception] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Running]:
    app = create_app("test", render, body_bytes=BODY)
    routes = Routes(app)
    found: list[Running] = []

    async def echo(request: Request) -> HTTPResponse:
        return text(str(len(request.body)))

    async def fail(_: Request) -> HTTPResponse:
        raise found[0].raises.pop()

    async def linger(_: Request) -> HTTPResponse:
        found[0].entered.set()
        await found[0].leave.wait()
        return text("done")

    routes.add("POST", "/echo", echo)
    routes.add("GET", "/raise", fail)
    routes.add("GET", "/linger", linger)
    routes.finish()
    server = await serve(app, Bind(host="127.0.0.1", port=0, flag="--x-port"))
    async with aiohttp.ClientSession() as http:
        found.append(Running(http, server, f"http://127.0.0.1:{server.port}"))
        yield found[0]
    await server.close(0.1)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Rejected("x"), 400),
        (NotFound("x"), 404),
        (TooLarge("x"), 413),
        (AlreadyDone("x"), 409),
        (Conflict("x"), 409),
        (Unavailable("x"), 503),
        (RateLimited("x", retry_after_s=7), 429),
        (OutcomeUnknown("x"), 504),
    ],
)
async def test_families_have_statuses(running: Running, error: KhalaError, status: int) -> None:
    running.raises.append(error)
    async with running.http.get(f"{running.base}/raise") as response:
        assert (response.status, await response.text()) == (status, "x")
        assert response.headers.get("Retry-After") == {503: "1", 429: "7"}.get(status)


@pytest.mark.parametrize("error", [ValueError("secret"), InvariantBroken("secret")])
async def test_a_defect_shows_nothing_of_itself(running: Running, error: Exception) -> None:
    running.raises.append(error)
    async with running.http.get(f"{running.base}/raise") as response:
        assert response.status == 500
        if isinstance(error, ValueError):
            assert "secret" not in await response.text()


async def test_a_body_has_a_limit(running: Running) -> None:
    for size, status in [(BODY, 200), (BODY + 1, 413)]:
        async with running.http.post(f"{running.base}/echo", data=b"x" * size) as response:
            assert response.status == status


async def test_a_port_in_use_names_its_flag(running: Running) -> None:
    app = create_app("second", render, body_bytes=BODY)
    with pytest.raises(
        Rejected, match=rf"--x-port: port {running.server.port} .* in use"
    ) as raised:
        await serve(app, Bind(host="127.0.0.1", port=running.server.port, flag="--x-port"))
    assert raised.value.field == "--x-port"


async def test_an_address_of_nobody_names_its_flag() -> None:
    app = create_app("third", render, body_bytes=BODY)
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(Rejected, match="not an address of this host"):
            await serve(app, Bind(host=host, port=0, flag="--x-port"))


async def test_requests_under_way_may_end(running: Running) -> None:
    answer = asyncio.ensure_future(running.http.get(f"{running.base}/linger"))
    await running.entered.wait()
    closing = asyncio.ensure_future(running.server.close(5.0))
    asyncio.get_running_loop().call_later(0.1, running.leave.set)
    async with await answer as response:
        assert await response.text() == "done"
    await closing


async def test_but_not_for_ever(running: Running) -> None:
    answer = asyncio.ensure_future(running.http.get(f"{running.base}/linger"))
    await running.entered.wait()
    start = time.monotonic()
    await running.server.close(0.2)
    assert time.monotonic() - start < 2.0
    with pytest.raises(aiohttp.ClientError):
        await answer


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
)
async def test_nonsense_is_the_clients_fault(
    running: Running, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(raw)
    status = int((await reader.readline()).split()[1])
    writer.close()
    assert 400 <= status < 500
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
