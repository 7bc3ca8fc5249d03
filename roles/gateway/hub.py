"""Events on their way to browsers and to requests that wait for a task.

Everything here is a hint. A reader that falls behind, or that may have missed something because
the connection to a judicator was renewed, has its stream ended: it reconnects and reads what it
shows anew, which is simpler and surer than replaying. Each event is encoded once, however many
read it, and not at all while nobody does.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import msgspec
import structlog
from msgspec import Struct

from khala.model.errors import Unavailable
from khala.model.executor import SessionState
from khala.model.ids import TaskId
from khala.model.limits import EVENT_QUEUE_ITEMS, EVENT_STREAMS
from khala.model.status import kv2_status
from khala.model.task import Reason, TaskBrief, TaskState
from khala.protocol.rpc import Event, ExecutorView, TaskChanged
from roles.gateway.times import rfc3339

log = structlog.get_logger()


class TaskEvent(Struct, frozen=True, kw_only=True):
    """Data of `event: task`."""

    id: TaskId
    user: int
    state: TaskState
    kv2_status: int
    reason: Reason | None
    executor: str | None
    attempt: int
    created_at: str
    updated_at: str
    done: bool


class ExecutorEvent(Struct, frozen=True, kw_only=True):
    """Data of `event: executor`."""

    name: str
    state: SessionState
    slots: int
    free: int
    seen_at: str


class Reader:
    """One event stream: encoded events that wait to be sent."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.wake = asyncio.Event()
        #: The stream must end; what waits may be incomplete.
        self.ended = False

    def push(self, event: bytes) -> None:
        if len(self.waiting) >= EVENT_QUEUE_ITEMS:
            self.end()
        else:
            self.waiting.append(event)
            self.wake.set()

    def end(self) -> None:
        self.ended = True
        self.wake.set()

    def take(self) -> bytes:
        self.wake.clear()
        batch, self.waiting = self.waiting, []
        return b"".join(batch)


class Hub:
    """Fans the judicators' events out; `on_event` and `on_gap` are fed by the feed."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        self._waiters: defaultdict[TaskId, set[asyncio.Event]] = defaultdict(set)
        self.stopping = False

    @property
    def readers(self) -> int:
        return len(self._readers)

    def open(self) -> Reader:
        """Raise `Unavailable` when there are too many streams, or the gateway stops."""
        if self.stopping:
            raise Unavailable("the gateway is stopping")
        if len(self._readers) >= EVENT_STREAMS:
            raise Unavailable(f"{EVENT_STREAMS} event streams are open, which is the limit")
        reader = Reader()
        self._readers.add(reader)
        return reader

    def close(self, reader: Reader) -> None:
        self._readers.discard(reader)

    def on_event(self, event: Event) -> None:
        if isinstance(event, TaskChanged):
            for waiter in self._waiters.get(event.task.id, ()):
                waiter.set()
        if not self._readers:
            return
        encoded = (
            _encode_task(event.task)
            if isinstance(event, TaskChanged)
            else _encode_executor(event.executor)
        )
        if encoded:
            for reader in self._readers:
                reader.push(encoded)

    def on_gap(self) -> None:
        """Events may have been missed: whoever listens must read anew."""
        for reader in self._readers:
            reader.end()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.set()

    def stop(self) -> None:
        """End every stream for good."""
        self.stopping = True
        self.on_gap()

    async def wait_for(self, task: TaskId, timeout_s: float) -> None:
        """Return when something was said about `task`, or after `timeout_s`."""
        waiter = asyncio.Event()
        waiters = self._waiters[task]
        waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.wait()
        except TimeoutError:
            pass
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(task) is waiters:
                del self._waiters[task]


def _encode_task(brief: TaskBrief) -> bytes:
    return encode_event(
        "task",
        TaskEvent(
            id=brief.id,
            user=brief.user,
            state=brief.state,
            kv2_status=kv2_status(brief.state, brief.attempt, brief.stage),
            reason=brief.reason,
            executor=brief.executor,
            attempt=brief.attempt,
            created_at=rfc3339(brief.submitted_at),
            updated_at=rfc3339(brief.updated_at),
            done=brief.done,
        ),
    )


def _encode_executor(view: ExecutorView) -> bytes:
    """Nothing if the free slots are known elsewhere: the session's owner tells of it too."""
    record = view.record
    if view.free is None and record.state is not SessionState.LOST:
        return b""
    return encode_event(
        "executor",
        ExecutorEvent(
            name=record.name,
            state=record.state,
            slots=record.slots,
            free=view.free or 0,
            seen_at=rfc3339(record.seen_at),
        ),
    )


def encode_event(name: str, data: Struct) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
