"""The events of every known judicator, for a gateway.

Each judicator tells what it changed itself, so a listener connects to all of them. Events are
hints: whatever is missed is read anew by those who show it, so nothing is queued, resumed or
acknowledged here. But that something may have been missed is always said: when a connection ends,
when there is one again, and now and then in between, because a judicator that cannot be heard from
here may be at work all the same.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from khala.model.errors import KhalaError
from khala.model.ids import TaskId
from khala.model.limits import FRAME_BYTES
from khala.net.address_book import AddressBook
from khala.net.credentials import Credentials
from khala.protocol.rpc import Event, FollowLogs
from khala.protocol.wire import SUBPROTOCOL, Codec, require_spoken

log = structlog.get_logger()

CONNECT_S = 3.0
#: Events are rare on an idle cluster; a ping tells a quiet judicator from one that is gone.
PING_S = 5.0
RECONNECT_MIN_S = 0.2
RECONNECT_MAX_S = 5.0
#: While a judicator cannot be heard, what it may have changed is read anew this often.
DEAF_S = 10.0
#: How often the judicators connected to are compared with the address book.
BOOK_INTERVAL_S = 1.0


class EventFeed:
    """Calls `on_event` for each event; `on_gap` whenever some may have been missed."""

    def __init__(
        self,
        book: AddressBook,
        credentials: Credentials,
        on_event: Callable[[Event], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._follows: frozenset[TaskId] = frozenset()
        #: One for each connection: what is followed has changed.
        self._changed: set[asyncio.Event] = set()
        self._book = book
        self._credentials = credentials
        self._on_event = on_event
        self._on_gap = on_gap
        #: When it was last said that something may be missing, whoever could not be heard.
        self._missed_at = time.monotonic()
        self._codec = Codec(msgspec.msgpack.Decoder(list[Event]))

    def follow_logs(self, tasks: Iterable[TaskId]) -> None:
        """Hear of the logs of these tasks from now on, and of no others. Each one that is new is
        heard of at once."""
        self._follows = frozenset(tasks)
        for changed in self._changed:
            changed.set()

    async def serve(self) -> None:
        """Until cancelled."""
        listeners: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                wanted = set(self._book.addresses)
                for address in wanted - listeners.keys():
                    listeners[address] = tasks.create_task(self._listen(address))
                for address in listeners.keys() - wanted:
                    listeners.pop(address).cancel()
                await asyncio.sleep(BOOK_INTERVAL_S)

    async def _listen(self, address: str) -> None:
        delay_s = RECONNECT_MIN_S
        complaint = ""
        while True:
            try:
                await self._converse(address)
                delay_s, complaint = RECONNECT_MIN_S, ""
            except (OSError, TimeoutError, WebSocketException, KhalaError) as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning("feed.failed", judicator=address, why=complaint)
            if time.monotonic() - self._missed_at > DEAF_S:
                self._miss()
            await asyncio.sleep(random.uniform(RECONNECT_MIN_S, delay_s))
            delay_s = min(RECONNECT_MAX_S, delay_s * 1.6)

    async def _converse(self, address: str) -> None:
        async with connect(
            **self._credentials.socket(address, "/rpc/v1/events"),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            open_timeout=CONNECT_S,
            close_timeout=1.0,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            max_size=2 * FRAME_BYTES,
            compression=None,
            proxy=None,
        ) as socket:
            require_spoken(socket.subprotocol, f"the judicator at {address}")
            log.info("feed.connected", judicator=address)
            self._miss()
            asking = asyncio.ensure_future(self._ask(socket))
            try:
                async for frame in socket:
                    if isinstance(frame, bytes):
                        for event in self._codec.decode(frame):
                            self._on_event(event)
            finally:
                asking.cancel()
                self._miss()

    def _miss(self) -> None:
        self._missed_at = time.monotonic()
        self._on_gap()

    async def _ask(self, socket: ClientConnection) -> None:
        """Say what is followed, whenever that changes. A connection that breaks is noticed by
        whoever reads from it."""
        changed = asyncio.Event()
        self._changed.add(changed)
        asked: frozenset[TaskId] = frozenset()
        try:
            while True:
                if self._follows != asked:
                    asked = self._follows
                    for frame in self._codec.encode([FollowLogs(tasks=list(asked))]):
                        await socket.send(frame)
                await changed.wait()
                changed.clear()
        except WebSocketException:
            return
        finally:
            self._changed.discard(changed)
