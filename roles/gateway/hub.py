"""What the judicators tell, on its way to event streams and to requests that wait for a task.

Everything here is a hint. When a judicator could not be heard, those who wait read what they wait
for, and streams are told to read anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from khala.model.executor import SessionState
from khala.model.ids import TaskId
from khala.model.task import Task
from khala.protocol import v2
from khala.protocol.rpc import Event, ExecutorView, LogGrew, TaskChanged
from roles.gateway.event_log import EventLog

#: Tasks remembered as open, and as ended; more than a gateway's clients wait for at once.
TASKS_REMEMBERED = 10_000
_MISSED = v2.Reset(why="A judicator could not be heard for a while.")


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
        #: What event streams are sent.
        self.log = EventLog()
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

    @property
    def stopping(self) -> bool:
        return self.log.stopping

    def on_event(self, event: Event) -> None:
        if isinstance(event, LogGrew):
            for watch in self._watches.get(event.task, ()):
                watch.tell(None)
            return
        if isinstance(event, TaskChanged):
            self._note(event)
            self.log.add(event.task)
        elif change := _change_of(event.executor):
            self.log.add(change)

    def on_gap(self) -> None:
        """Events may have been missed: whoever listens must read anew."""
        self.log.add(_MISSED)
        self._open.clear()
        for watches in self._watches.values():
            for watch in watches:
                watch.tell(None)

    def stop(self) -> None:
        """End every stream and every wait for good."""
        self.log.stop()
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


def _change_of(view: ExecutorView) -> v2.ExecutorChange | None:
    """Nothing if the free slots are known elsewhere: the session's owner tells of it too."""
    record = view.record
    if view.free is None and record.state is not SessionState.LOST:
        return None
    return v2.ExecutorChange(
        name=record.name,
        state=record.state,
        slots=record.slots,
        free=view.free or 0,
        seen_at=v2.stamp(record.seen_at),
    )
