"""The socket to one Judicator at a time: connect, frame, batch, reconnect with jitter.

Policy (when to give a link up, what to say on it) is `khala.core.agent`; this is its shell.
"""

from __future__ import annotations

import asyncio
import random

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from khala.core.agent import Agent
from khala.model.errors import Rejected
from khala.model.limits import FRAME_BYTES, LINK_TIMEOUT_S, SEND_QUEUE_ITEMS
from khala.net.address_book import AddressBook
from khala.net.credentials import Credentials
from khala.protocol.executor import FromExecutorMessage, ToExecutorMessage
from khala.protocol.wire import SUBPROTOCOL, Codec, require_spoken

log = structlog.get_logger()

#: Pause before another judicator is tried: full jitter, so that a thousand executors that lose
#: one judicator do not arrive at the next in the same instant.
RECONNECT_MIN_S = 0.2
RECONNECT_MAX_S = 5.0


class Link:
    """Keeps `agent` connected to one of the judicators that `book` knows until cancelled, and
    notes there which ones the agent is told of."""

    def __init__(self, book: AddressBook, credentials: Credentials) -> None:
        self._book = book
        self._credentials = credentials
        self._codec = Codec(msgspec.msgpack.Decoder(list[ToExecutorMessage]))
        self._outgoing: list[FromExecutorMessage] = []
        self._wake = asyncio.Event()
        self._socket: ClientConnection | None = None
        #: host:port of the judicator at the other end; bulk data goes there too.
        self.address: str | None = None

    def send(self, message: FromExecutorMessage) -> None:
        """Queue a message; beyond the bound the link is dropped, inventories repair the rest."""
        if self._socket is None:
            return
        if len(self._outgoing) >= SEND_QUEUE_ITEMS:
            self.disconnect(f"{SEND_QUEUE_ITEMS} messages are waiting to be sent")
            return
        self._outgoing.append(message)
        self._wake.set()

    def disconnect(self, why: str) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            log.warning("link.dropped", judicator=self.address, why=why)
            socket.transport.abort()

    async def serve(self, agent: Agent) -> None:
        """Never returns; a failed connection is logged once per change of reason."""
        delay_s = RECONNECT_MIN_S
        complaint = ""
        while True:
            self.address = self._pick()
            try:
                connected = await self._converse(agent)
                if connected:
                    delay_s, complaint = RECONNECT_MIN_S, ""
            except (OSError, TimeoutError, WebSocketException, Rejected) as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning("link.failed", judicator=self.address, why=complaint)
            await asyncio.sleep(random.uniform(RECONNECT_MIN_S, delay_s))
            delay_s = min(RECONNECT_MAX_S, delay_s * 1.6)

    def _pick(self) -> str:
        known = self._book.addresses
        others = [address for address in known if address != self.address]
        return random.choice(others or known)

    async def _converse(self, agent: Agent) -> bool:
        """One connection from Hello to its end; whether the session was ever open."""
        async with connect(
            **self._credentials.socket(self.address or "", "/rpc/v1/executor"),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            open_timeout=LINK_TIMEOUT_S,
            close_timeout=1.0,
            ping_interval=None,  # heartbeats of our own carry more
            max_size=2 * FRAME_BYTES,
            compression=None,
            proxy=None,
        ) as socket:
            require_spoken(socket.subprotocol, f"the judicator at {self.address}")
            self._outgoing.clear()
            self._socket = socket
            sessions_before = agent.highest_session
            agent.on_connected()
            writer = asyncio.ensure_future(self._write(socket))
            try:
                async for frame in socket:
                    if not isinstance(frame, bytes):
                        raise Rejected("the judicator sent text where a frame was due")
                    for message in self._codec.decode(frame):
                        agent.on_message(message)
                    self._book.learn(agent.peers)
            finally:
                writer.cancel()
                self._socket = None
                agent.on_disconnected()
            return agent.highest_session > sessions_before

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._outgoing = self._outgoing, []
            for frame in self._codec.encode(batch):
                await socket.send(frame)
