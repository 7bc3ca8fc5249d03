"""The executors' sockets: frames in, batched frames out, one connection number each."""

from __future__ import annotations

import asyncio
import itertools
from typing import Protocol

import msgspec
import structlog

from khala.core.dispatch import Dispatcher
from khala.core.ports import Conn
from khala.core.recovery import Recovery
from khala.model.errors import Rejected
from khala.model.limits import SEND_QUEUE_ITEMS, SESSION_TTL_S
from khala.protocol.executor import FromExecutorMessage, Hello
from khala.protocol.wire import Codec
from roles.judicator.world import Outbox, World

log = structlog.get_logger()


class Socket(Protocol):
    """The part of Sanic's WebSocket that is used."""

    async def recv(self) -> str | bytes | None: ...
    async def send(self, message: bytes) -> None: ...
    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class ExecutorSockets:
    """Feeds the reactor with what executors say, and them with what it answers."""

    def __init__(self, dispatcher: Dispatcher, recovery: Recovery, world: World) -> None:
        self._dispatcher = dispatcher
        self._recovery = recovery
        self._world = world
        self._numbers = itertools.count(1)
        self._codec = Codec(msgspec.msgpack.Decoder(list[FromExecutorMessage]))

    async def serve(self, socket: Socket, certified: str | None = None) -> None:
        """One connection until either side ends it. `certified`: the name that its certificate
        allows."""
        conn = Conn(next(self._numbers))
        outbox = self._world.outboxes[conn] = Outbox()
        writer = asyncio.ensure_future(self._write(socket, outbox))
        reader = asyncio.ensure_future(self._read(conn, socket, certified))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (reader, writer):
                if ended.done() and not ended.cancelled() and (error := ended.exception()):
                    log.warning("executor.link_broke", conn=conn, why=str(error))
        finally:
            reader.cancel()
            writer.cancel()
            del self._world.outboxes[conn]
            self._dispatcher.on_closed(conn)
            await socket.close()

    async def _read(self, conn: Conn, socket: Socket, certified: str | None) -> None:
        while True:
            # A silent socket is dropped, or a half-open one would pin its session's executor.
            # Not by Sanic's own time-out, which costs two tasks more for each frame.
            try:
                async with asyncio.timeout(SESSION_TTL_S):
                    frame = await socket.recv()
            except TimeoutError:
                raise Rejected(f"it was silent for {SESSION_TTL_S:.0f} s") from None
            if frame is None:
                return
            if not isinstance(frame, bytes):
                raise Rejected("an executor sent text where a frame was due")
            for message in self._codec.decode(frame):
                if isinstance(message, Hello):
                    if certified is not None and message.name != certified:
                        raise Rejected(
                            f"it calls itself {message.name}, its certificate is of {certified}"
                        )
                    self._recovery.on_hello(conn, message)
                else:
                    self._dispatcher.on_message(conn, message)

    async def _write(self, socket: Socket, outbox: Outbox) -> None:
        while True:
            batch = await outbox.messages.take()
            if len(batch) > SEND_QUEUE_ITEMS:
                raise Rejected(f"{len(batch)} messages were waiting for one executor")
            for frame in self._codec.encode(batch):
                await socket.send(frame)
            if outbox.closing is not None:
                raise Rejected(outbox.closing)
