"""Events on their way to browsers and to requests that wait for a task.

Everything here is a hint. A reader that falls behind, or that may have missed something because
the connection to a judicator was renewed, has its stream ended: it reconnects and reads what it
shows anew, which is simpler and surer than replaying. Each event is encoded once, however many
read it, and not at all while nobody does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog
from msgspec import Struct

from khala.model.errors import Unavailable
from khala.model.executor import SessionState
from khala.model.ids import TaskId
from khala.model.limits import EVENT_QUEUE_ITEMS, EVENT_STREAMS
from khala.model.spec import Member
from khala.model.status import kv2_status
from khala.model.task import Task, TaskBrief
from khala.protocol import v2
from khala.protocol.rpc import Event, ExecutorView, LogGrew, TaskChanged
from roles.gateway.topics import Topics
from roles.gateway.view_cases import view_score

log = structlog.get_logger()

#: Tasks remembered as open, and as ended; more than a gateway's clients wait for at once.
TASKS_REMEMBERED = 10_000


class Reader:
    """One event stream: encoded events that wait to be sent."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
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


class Watch:
    """What one request wants to know of one task. It is registered before the task is read, so
    nothing that happens after the read is missed."""

    def __init__(self, *, ends_only: bool) -> None:
        self._ends_only = ends_only
        self._wake = asyncio.Event()
        #: The whole task, if it has ended and the news of that brought it along.
        self.ended: Task | None = None

    def tell(self, event: TaskChanged | None) -> None:
        """Something happened; None: it is not known what."""
        if event is None or event.task.done or not self._ends_only:
            self._wake.set()
        if event is not None and event.ended is not None:
            self.ended = event.ended

    async def wait(self, timeout_s: float) -> None:
        """Return when something was said since the last call, or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()


class Hub:
    """Fans the judicators' events out; `on_event` and `on_gap` are fed by the feed."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        #: How many watch the log of a task.
        self._logs: Counter[TaskId] = Counter()
        #: Told which tasks these are, whenever that changes.
        self.follow_logs: Callable[[Iterable[TaskId]], None] = lambda tasks: None
        self._watches: defaultdict[TaskId, set[Watch]] = defaultdict(set)
        #: Tasks last heard of as open, the latest last: whoever waits for their end need not
        #: read them first. Bounded; a task that fell out is read.
        self._open: dict[TaskId, None] = {}
        #: Tasks last heard of as ended; as bounded.
        self._ended: dict[TaskId, None] = {}
        self.stopping = False

    @property
    def readers(self) -> int:
        return len(self._readers)

    def open(self, topics: Topics | None = None) -> Reader:
        """Of all topics unless some are given. Raise `Unavailable` when there are too many
        streams, or the gateway stops."""
        if self.stopping:
            raise Unavailable("the gateway is stopping")
        if len(self._readers) >= EVENT_STREAMS:
            raise Unavailable(f"{EVENT_STREAMS} event streams are open, which is the limit")
        reader = Reader(topics or Topics())
        self._readers.add(reader)
        return reader

    def close(self, reader: Reader) -> None:
        self._readers.discard(reader)

    def on_event(self, event: Event) -> None:
        if isinstance(event, LogGrew):
            for watch in self._watches.get(event.task, ()):
                watch.tell(None)
            return
        if isinstance(event, TaskChanged):
            self._note(event)
        readers = [reader for reader in self._readers if reader.topics.include(event)]
        if not readers:
            return
        encoded = (
            encode_event("task", row_of(event.task))
            if isinstance(event, TaskChanged)
            else _encode_executor(event.executor)
        )
        if encoded:
            for reader in readers:
                reader.push(encoded)

    def on_gap(self) -> None:
        """Events may have been missed: whoever listens must read anew."""
        for reader in self._readers:
            reader.end()
        self._open.clear()
        for watches in self._watches.values():
            for watch in watches:
                watch.tell(None)

    def stop(self) -> None:
        """End every stream for good."""
        self.stopping = True
        self.on_gap()

    def accepted(self, task: TaskId) -> None:
        """This gateway has just submitted it. The news of its end may have been faster."""
        if task not in self._ended:
            _remember(self._open, task)

    def known_open(self, task: TaskId) -> bool:
        """It was open when last heard of, on a connection that has missed nothing since."""
        return task in self._open

    @contextmanager
    def watch(self, task: TaskId, *, ends_only: bool, log: bool = False) -> Iterator[Watch]:
        """A watch on `task`, and on its log, for as long as the block runs."""
        watch = Watch(ends_only=ends_only)
        watches = self._watches[task]
        watches.add(watch)
        if log:
            self._count_log(task, 1)
        try:
            yield watch
        finally:
            watches.discard(watch)
            if not watches:
                self._watches.pop(task, None)
            if log:
                self._count_log(task, -1)

    def _count_log(self, task: TaskId, change: int) -> None:
        before = self._logs[task]
        self._logs[task] += change
        if not self._logs[task]:
            del self._logs[task]
        if not before or task not in self._logs:
            self.follow_logs(self._logs)

    def _note(self, event: TaskChanged) -> None:
        brief = event.task
        if brief.done:
            self._open.pop(brief.id, None)
            _remember(self._ended, brief.id)
        else:
            _remember(self._open, brief.id)
        for watch in self._watches.get(brief.id, ()):
            watch.tell(event)


def _remember(tasks: dict[TaskId, None], task: TaskId) -> None:
    tasks.pop(task, None)
    tasks[task] = None
    if len(tasks) > TASKS_REMEMBERED:
        del tasks[next(iter(tasks))]


def place_of(member: Member | None) -> v2.Place | None:
    return None if member is None else v2.Place(id=member.job, index=member.index)


def row_of(brief: TaskBrief) -> v2.Row:
    """A task in one row: of an event, and of a list."""
    return v2.Row(
        id=brief.id,
        user=brief.user,
        name=brief.name,
        state=brief.state,
        kv2_status=kv2_status(brief.state, brief.attempt, brief.stage),
        reason=brief.reason,
        executor=brief.executor,
        attempt=brief.attempt,
        created_at=v2.stamp(brief.submitted_at),
        updated_at=v2.stamp(brief.updated_at),
        done=brief.done,
        verdict=brief.verdict,
        score=view_score(brief.score),
        finished_at=v2.stamp(brief.done_at) if brief.done_at else None,
        job=place_of(brief.member),
    )


def _encode_executor(view: ExecutorView) -> bytes:
    """Nothing if the free slots are known elsewhere: the session's owner tells of it too."""
    record = view.record
    if view.free is None and record.state is not SessionState.LOST:
        return b""
    return encode_event(
        "executor",
        v2.ExecutorChange(
            name=record.name,
            state=record.state,
            slots=record.slots,
            free=view.free or 0,
            seen_at=v2.stamp(record.seen_at),
        ),
    )


def encode_event(name: str, data: Struct) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), v2.encode(data))
