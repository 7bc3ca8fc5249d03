"""Reading a log across whatever happens to the connection: every byte once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web

from khala.client import AsyncKhala, Khala, LogQuery, bytes_of
from khala.model.errors import Unavailable
from khala.protocol.v2 import LogChunk, LogEnd, LogGap
from roles.client.output import Output

END = (
    b'{"event":"end","id":"1.execute.9.0.end","attempt":1,"state":"failed","reason":"signal",'
    b'"exit_code":null}\n'
)
TEXT = "".join(f"line {n}\n" for n in range(200)).encode()


class Gateway:
    """Sends a log, and hangs up in the middle of it as often as it is told to."""

    def __init__(self, hang_ups: int, *, in_a_line: bool = False) -> None:
        self.hang_ups = hang_ups
        self._in_a_line = in_a_line
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        response = web.StreamResponse()
        await response.prepare(request)
        after = request.query.get("after", "1.execute.0.0")
        at = int(after.split(".")[2])
        for number, start in enumerate(range(at, len(TEXT), 50)):
            piece = TEXT[start : start + 50]
            record = {
                "event": "chunk",
                "id": f"1.execute.{start + len(piece)}.0",
                "attempt": 1,
                "stage": "execute",
                "stream": "stdout",
                "offset": start,
                "text": piece.decode(),
            }
            line = json.dumps(record).encode() + b"\n"
            if self.hang_ups and number == 2:
                self.hang_ups -= 1
                if self._in_a_line:
                    await response.write(line[:30])
                assert request.transport is not None
                request.transport.close()
                return response
            await response.write(line)
        await response.write(b'{"event":"alive"}\n')
        await response.write(END)
        return response


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/api/v2/tasks/{id}/logs", gateway.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("in_a_line", [False, True])
async def test_a_reader_goes_on_where_it_was(in_a_line: bool) -> None:
    gateway = Gateway(hang_ups=4, in_a_line=in_a_line)
    async with serving(gateway) as url, AsyncKhala(url) as khala:
        records = [each async for each in khala.logs("7", LogQuery(tail=5, follow=True))]
    chunks = [each for each in records if isinstance(each, LogChunk)]
    assert b"".join(bytes_of(each) for each in chunks) == TEXT
    assert isinstance(records[-1], LogEnd)
    assert gateway.asked[0] == {"tail": "5", "follow": "true"}
    assert gateway.asked[1] == {**gateway.asked[0], "after": "1.execute.100.0"}


async def test_it_gives_up_when_nobody_answers() -> None:
    gateway = Gateway(hang_ups=0)
    async with serving(gateway) as url:
        pass
    async with AsyncKhala(url, patience_s=0.3) as khala:
        with pytest.raises(Unavailable):
            async for _ in khala.logs("7", LogQuery(follow=True)):
                pass


async def test_the_same_for_programs_without_a_loop() -> None:
    gateway = Gateway(hang_ups=1)

    def read(url: str) -> bytes:
        with Khala(url) as khala:
            records = khala.logs("7", LogQuery(follow=True))
            return b"".join(bytes_of(each) for each in records if isinstance(each, LogChunk))

    async with serving(gateway) as url:
        assert await asyncio.to_thread(read, url) == TEXT


def test_a_gap_is_told(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    output = Output(timestamps=True)
    gap = {"event": "gap", "id": "1", "attempt": 1, "stage": "execute", "stream": "stdout"}
    output.show(msgspec.convert({**gap, "from": 4, "to": 10}, LogGap))
    assert capsysbinary.readouterr().err == b"khala: 6 bytes of stdout were not kept\n"
