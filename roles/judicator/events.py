"""What changed, told to every gateway that listens.

Hints only: a gateway that was away reads what it shows anew. So a slow listener loses its
connection, never holds memory beyond its bound, and never slows dispatch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from khala.model.errors import KhalaError, Rejected
from khala.model.ids import TaskId
from khala.model.limits import EVENT_QUEUE_ITEMS, EVENT_TASK_BYTES
from khala.model.task import Task, TaskBrief
from khala.protocol.rpc import (
    Event,
    ExecutorChanged,
    ExecutorView,
    FollowLogs,
    LogGrew,
    TaskChanged,
)
from khala.protocol.wire import Codec
from khala.store.protocols import TaskStore
from roles.judicator.executors import Socket
from roles.judicator.gather import Gathering
from roles.judicator.world import World

log = structlog.get_logger()

#: Of a case in a spec, or of its outcome, about.
_CASE_BYTES = 128


class Listener:
    """One gateway's queue."""

    def __init__(self) -> None:
        self.events = Gathering[Event]()
        self.overrun = False
        #: Tasks whose logs somebody reads there.
        self.follows: frozenset[TaskId] = frozenset()
        #: Told to go and read, and not yet on its way.
        self.grown: set[TaskId] = set()


class Events:
    """Fans task and executor changes out to the listeners."""

    def __init__(self, find_ended: Callable[[TaskId], Task | None]) -> None:
        """`find_ended` has tasks that ended here a moment ago."""
        self._find_ended = find_ended
        self._listeners: set[Listener] = set()
        self._codec = Codec(msgspec.msgpack.Decoder(list[FollowLogs]))

    def publish_task(self, brief: TaskBrief) -> None:
        if not self._listeners:
            return
        ended = self._find_ended(brief.id) if brief.done else None
        if ended is not None and _bulk_bytes(ended) > EVENT_TASK_BYTES:
            ended = None
        self._publish(TaskChanged(task=brief, ended=ended), urgent=brief.done)

    def publish_executor(self, view: ExecutorView) -> None:
        if self._listeners:
            self._publish(ExecutorChanged(executor=view), urgent=True)

    def publish_log(self, task: TaskId) -> None:
        for listener in self._listeners:
            if task in listener.follows:
                self._tell_grown(listener, task)

    def _tell_grown(self, listener: Listener, task: TaskId) -> None:
        """Once, however often it grows before that leaves."""
        if task not in listener.grown:
            listener.grown.add(task)
            self._tell(listener, LogGrew(task=task), urgent=True)

    @property
    def wanted(self) -> bool:
        return bool(self._listeners)

    def _publish(self, event: Event, *, urgent: bool) -> None:
        for listener in self._listeners:
            self._tell(listener, event, urgent=urgent)

    def _tell(self, listener: Listener, event: Event, *, urgent: bool) -> None:
        if len(listener.events) >= EVENT_QUEUE_ITEMS:
            log.warning("events.listener_behind", limit=EVENT_QUEUE_ITEMS)
            listener.overrun = True
            listener.events.hurry()
        else:
            # People watch a task's way, programs wait for its end.
            listener.events.add(event, urgent=urgent)

    def _drop_listeners(self) -> None:
        """They connect again, and know by that that they may have missed something."""
        for listener in self._listeners:
            listener.overrun = True
            listener.events.hurry()

    async def serve(self, socket: Socket) -> None:
        """Send events to one gateway until it goes away or falls behind."""
        listener = Listener()
        self._listeners.add(listener)
        writer = asyncio.ensure_future(self._write(socket, listener))
        reader = asyncio.ensure_future(self._read(socket, listener))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and not reader.cancelled() and (error := reader.exception()):
                log.warning("events.listener_broke", why=str(error))
        finally:
            self._listeners.discard(listener)
            reader.cancel()
            writer.cancel()
            await socket.close()

    async def _read(self, socket: Socket, listener: Listener) -> None:
        while (frame := await socket.recv()) is not None:
            if not isinstance(frame, bytes):
                raise Rejected("a gateway sent text where a frame was due")
            for message in self._codec.decode(frame):
                follows = frozenset(message.tasks)
                before, listener.follows = listener.follows, follows
                for task in follows - before:
                    self._tell_grown(listener, task)

    async def _write(self, socket: Socket, listener: Listener) -> None:
        while True:
            events = await listener.events.take()
            listener.grown.clear()
            for frame in self._codec.encode(events):
                await socket.send(frame)
            if listener.overrun:
                log.warning("events.listener_dropped")
                return

    async def announce_touched(self, world: World, tasks: TaskStore) -> None:
        """Reads and publishes tasks whose new state the reactor did not have at hand."""
        while True:
            await world.touched_wake.wait()
            touched = world.take_touched()
            if not self.wanted:
                continue
            try:
                for brief in await tasks.load_briefs(touched):
                    self.publish_task(brief)
            except KhalaError:
                self._drop_listeners()  # these would be missed, and nobody would know


def _bulk_bytes(task: Task) -> int:
    """Of whatever may be large in it: inline bytes, variables, names of artifacts."""
    outcome = task.outcome
    streams = outcome.streams if outcome is not None else {}
    artifacts = outcome.artifacts if outcome is not None else None
    cases = len(task.spec.cases) + (len(outcome.cases) if outcome is not None else 0)
    inline = [ref.inline for ref in task.spec.parts.values()]
    inline += [ref.inline for ref in streams.values()]
    if outcome is not None and outcome.case_outputs is not None:
        inline.append(outcome.case_outputs.inline)
    variables = [task.spec.environment, *task.spec.stage_environment.values()]
    return (
        sum(len(data) for data in inline if data)
        + sum(len(name) + len(value) for given in variables for name, value in given.items())
        + cases * _CASE_BYTES
        + sum(len(file.name) + len(file.sha256) for file in (artifacts.files if artifacts else ()))
    )
