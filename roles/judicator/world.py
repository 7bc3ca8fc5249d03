"""`khala.core.ports.Comm` in a serving process: sockets, background flows, real time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TypeVar

import structlog

from khala.core.facts import Fact
from khala.core.ports import Conn
from khala.model.dates import utc_now
from khala.model.errors import InvariantBroken
from khala.model.ids import TaskId
from khala.model.task import TaskBrief
from khala.protocol.executor import Recorded, ToExecutorMessage
from roles.judicator.gather import Gathering

log = structlog.get_logger()
Item = TypeVar("Item")


class Outbox:
    """Messages for one executor socket; written in batches by the socket's own task."""

    def __init__(self) -> None:
        self.messages = Gathering[ToExecutorMessage]()
        #: Set to end the connection, with the reason for the log.
        self.closing: str | None = None


class World:
    """`khala.core.ports.Comm` of a serving process."""

    def __init__(
        self, publish: Callable[[TaskBrief], None], observe: Callable[[Fact], None]
    ) -> None:
        self._publish = publish
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._flows: set[asyncio.Task[None]] = set()
        #: Resolves when a flow broke an invariant or hit a defect: the process must not go on.
        self.broken: asyncio.Future[None] = self._loop.create_future()
        self.outboxes: dict[Conn, Outbox] = {}
        self._touched: set[TaskId] = set()
        self.touched_wake = asyncio.Event()
        self._peers: list[str] = []

    def send(self, conn: Conn, message: ToExecutorMessage) -> None:
        outbox = self.outboxes.get(conn)
        if outbox is not None:
            # Nobody waits for a Recorded; it travels with the next assignment if that is soon.
            outbox.messages.add(message, urgent=not isinstance(message, Recorded))

    def close(self, conn: Conn, why: str) -> None:
        outbox = self.outboxes.get(conn)
        if outbox is not None:
            outbox.closing = why
            outbox.messages.hurry()

    def spawn(self, flow: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(flow)
        self._flows.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._flows.discard(task)
        if task.cancelled() or self.broken.done():
            return
        error = task.exception()
        if error is not None:
            log.error("flow.broke", exc_info=error)
            self.broken.set_exception(InvariantBroken(f"a dispatch flow failed: {error!r}"))

    async def drain(self, timeout_s: float) -> None:
        """Let the flows under way finish their statements."""
        if self._flows:
            await asyncio.wait(set(self._flows), timeout=timeout_s)

    def changed(self, brief: TaskBrief) -> None:
        self._publish(brief)

    def touched(self, task: TaskId) -> None:
        self._touched.add(task)
        self.touched_wake.set()

    def take_touched(self) -> list[TaskId]:
        """What `touched` named since the last call."""
        self.touched_wake.clear()
        taken, self._touched = list(self._touched), set()
        return taken

    def happened(self, fact: Fact) -> None:
        self._observe(fact)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now(self) -> float:
        return time.monotonic()

    def wall_time(self) -> datetime:
        return utc_now()

    def set_peers(self, addresses: list[str]) -> None:
        self._peers = addresses

    def peers(self) -> list[str]:
        return self._peers

    def shuffle(self, items: list[Item]) -> None:
        random.shuffle(items)
