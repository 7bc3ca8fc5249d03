"""A way between hosts that takes its time: kernels of test machines have no delay of their own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

READ_BYTES = 65536


class SlowWay:
    """Passes connections on to one address; everything arrives `delay_s` later, in its order."""

    def __init__(self, address: str, port: int, delay_s: float) -> None:
        self._target = (address, port)
        self._delay_s = delay_s
        self._ends: list[asyncio.StreamWriter] = []

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._ends += (writer, far_writer)
        ways = ((reader, far_writer), (far_reader, writer))
        await asyncio.gather(*(self._carry(*way) for way in ways), return_exceptions=True)
        for end in (writer, far_writer):
            end.close()

    async def close(self) -> None:
        """Every connection; whoever carries something between its ends finds out and ends."""
        for end in self._ends:
            end.transport.abort()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        closed = (end.wait_closed() for end in self._ends)
        await asyncio.gather(*under_way, *closed, return_exceptions=True)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1000)

        async def deliver() -> None:
            while True:
                due, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    target.close()
                    return
                target.write(data)
                await target.drain()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deliver())
            while True:
                data = await source.read(READ_BYTES)
                await on_the_way.put((loop.time() + self._delay_s, data))
                if not data:
                    return


@contextlib.contextmanager
def slow_way(address: str, port: int, delay_s: float) -> Iterator[int]:
    """The port of this machine where it begins."""
    loop = asyncio.new_event_loop()
    way = SlowWay(address, port, delay_s)
    server = loop.run_until_complete(asyncio.start_server(way.pass_on, "0.0.0.0", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(way.close())
        loop.close()
