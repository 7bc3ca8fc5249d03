"""Whose fault a broken download is: the gateway's, or of whoever takes the bytes; and what is asked
again."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from khala.client.transport import Transport
from khala.model.errors import RateLimited, Unavailable


@pytest_asyncio.fixture
async def transport() -> AsyncIterator[Transport]:
    async def whole(_: web.Request) -> web.Response:
        return web.Response(body=b"bytes")

    async def broken(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = 100
        await answer.prepare(request)
        await answer.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return answer

    asked = iter((429, 429, 200))

    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=next(asked), body=b"bytes", headers={"Retry-After": "0"})

    app = web.Application()
    app.add_routes([web.get("/whole", whole), web.get("/broken", broken), web.get("/busy", busy)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    transport = Transport(f"http://{host}:{port}", None, patience_s=0)
    yield transport
    await transport.close()
    await runner.cleanup()


async def take(transport: Transport, path: str, failure: OSError | None = None) -> bytes:
    """What arrived, after which whoever takes it fails."""
    taken = b""
    async with transport.open(path, {}) as pieces:
        async for piece in pieces:
            taken += piece
            if failure is not None:
                raise failure
    return taken


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError()]
)
async def test_a_disk_or_a_pipe_of_ours_is_not_the_gateways(
    transport: Transport, failure: OSError
) -> None:
    with pytest.raises(type(failure)) as raised:
        await take(transport, "/whole", failure)
    assert raised.value is failure
    assert await take(transport, "/whole") == b"bytes"


async def test_a_line_that_breaks_is(transport: Transport) -> None:
    with pytest.raises(Unavailable, match="no gateway answers"):
        await take(transport, "/broken")


async def test_a_limit_of_requests_is_waited_for(transport: Transport) -> None:
    with pytest.raises(RateLimited):
        await take(transport, "/busy")
    transport.patience_s = 5.0
    assert await take(transport, "/busy") == b"bytes"
