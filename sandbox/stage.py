"""One stage, from a jail that waits to its last process: go, watch, kill, measure.

The event loop watches three descriptors (two outputs, the process) and two timers (wall time; one
for what can only be polled: processor time and out-of-memory kills). Every read is bounded, so a
flood of output costs the loop a slice per turn and ends at the limit. Nothing here runs long: the
parts that wait, wait in the loop.

Time, and processor time, count from the moment the jail is told to go, whether it was made ahead
or on demand. A stage is over when nsjail is reaped and the cgroup is empty (see `sandbox.killing`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from msgspec.structs import replace

from khala.model.outcome import Reason, StageOutcome
from khala.model.spec import OnOutputLimit
from sandbox.errors import BadInput, SandboxLost
from sandbox.jail import Jail, NoRoom
from sandbox.job import Job
from sandbox.killing import empty
from sandbox.offload import offload
from sandbox.output import Output
from sandbox.verdict import Facts, Room, judge

_POLL_MIN_S = 0.005
_POLL_MAX_S = 0.05
#: Work on more than this leaves the event loop for a thread.
_LARGE_BYTES = 256 * 1024


class Cancel(Protocol):
    """What is needed of an `asyncio.Event`."""

    def is_set(self) -> bool: ...
    async def wait(self) -> object: ...


class JailGone(SandboxLost):
    """The jail ended before it was told to go: nothing of its task had begun."""


class StageRun:
    """Runs one job in one jail."""

    def __init__(self, jail: Jail, job: Job) -> None:
        """The jail is this run's from now on."""
        self._jail = jail
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._stopped_for: Reason | None = None
        self._killing = False
        self._failure: Exception | None = None
        self._interrupted: asyncio.CancelledError | None = None
        #: When the jail was told to go; 0 if it was not.
        self._started_at = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def run(self, cancel: Cancel, rooms: Callable[[], tuple[Room, ...]]) -> StageOutcome:
        """Raises SandboxLost (JailGone if nothing had begun), BadInput, or OSError when the
        service's own files or cgroups fail.

        Cancelling the calling task kills the jail first, and then lets the cancellation through.
        """
        with ExitStack() as closing:
            closing.callback(self._jail.close)
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._stop_when_set(cancel))
                await self._settle(self._fed())
                await self._settle(self._jail.ready)
                closing.callback(self._stop_watching)
                self._go()
                await self._settle(self._jail.over)
                watcher.cancel()
            await empty(self._jail.leaf)
            if self._interrupted is not None:
                raise self._interrupted
            if self._failure is not None:
                raise self._failure
            if self._started_at:
                for output in self._jail.outputs:
                    await _finish(output)
            elif self._stopped_for is None:
                raise JailGone(_before_its_task(self._jail))
            return judge(self._facts(rooms()))

    async def _settle(self, future: asyncio.Future[None]) -> None:
        """Wait for it in any case: a cancellation stops the stage, and is remembered."""
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                self._interrupted = error
                self.stop(Reason.CANCELLED)
        failure = future.exception()
        if isinstance(failure, OSError):
            self._fail(failure)

    # ---- start ------------------------------------------------------------------------------

    def _fed(self) -> asyncio.Future[None]:
        """Done when the jail has its standard input."""
        path = self._job.stdin
        try:
            if path is not None:
                if os.stat(path).st_size > _LARGE_BYTES:
                    return self._loop.run_in_executor(None, self._jail.feed, path)
                self._jail.feed(path)
        except OSError as error:
            self._fail(error)
        done = self._loop.create_future()
        done.set_result(None)
        return done

    def _go(self) -> None:
        if self._stopped_for is not None or not self._jail.waits:
            return
        try:
            self._jail.go(self._job)
        except ProcessLookupError:
            return  # it has just died, which is noticed by itself
        except NoRoom:
            self.stop(Reason.MEMORY)
            return
        except (OSError, BadInput) as error:
            self._fail(error)
            return
        self._started_at = time.monotonic()
        if self._job.on_start is not None:
            self._job.on_start(*self._jail.outputs)
        for output in self._jail.outputs:
            self._loop.add_reader(output.read_fd, self._on_output, output)
        self._after("wall", self._job.limits.wall_ms / 1000, self._on_wall_time)
        self._after("poll", _POLL_MAX_S, self._on_poll)

    def _stop_watching(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for output in self._jail.outputs:
            self._loop.remove_reader(output.read_fd)

    def _after(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(seconds, callback)

    # ---- what happens meanwhile --------------------------------------------------------------

    def _on_output(self, output: Output) -> None:
        try:
            ended = output.take() == 0
        except OSError as error:
            self._fail(error)
            ended = True
        stops = self._job.limits.on_output_limit is OnOutputLimit.STOP
        if output.over_limit and stops:
            # What it still writes before it is dead is read: the end of an output is kept, too.
            self.stop(Reason.OUTPUT_LIMIT)
        if ended:
            self._loop.remove_reader(output.read_fd)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.stop(Reason.INTERNAL)

    def _on_wall_time(self) -> None:
        self.stop(Reason.WALL_TIME)

    def _on_poll(self) -> None:
        limits = self._job.limits
        try:
            used_ns = self._jail.leaf.cpu_ns() - self._jail.spent_ns
            oom_kills = self._jail.leaf.oom_kills()
        except OSError as error:
            # Without this look the limits would not be enforced.
            self._fail(error)
            return
        left_s = limits.cpu_ms / 1000 - used_ns / 1e9
        if oom_kills:
            self.stop(Reason.MEMORY)
        elif left_s < 0:
            self.stop(Reason.CPU_TIME)
        else:
            # The quota bounds how soon the limit can be met.
            pause_s = min(_POLL_MAX_S, max(_POLL_MIN_S, left_s / limits.cpus))
            self._after("poll", pause_s, self._on_poll)

    async def _stop_when_set(self, cancel: Cancel) -> None:
        await cancel.wait()
        grace_s = self._job.grace_s() if self._job.grace_s is not None else 0.0
        if grace_s > 0 and self._started_at:
            self._stopped_for = self._stopped_for or Reason.CANCELLED
            self._jail.ask_to_end()
            await asyncio.sleep(grace_s)
        self.stop(Reason.CANCELLED)

    # ---- the end -----------------------------------------------------------------------------

    def stop(self, reason: Reason) -> None:
        """Kill everything; the first reason counts, also that of being asked to end."""
        if not self._killing and not self._jail.over.done():
            self._killing = True
            self._stopped_for = self._stopped_for or reason
            self._jail.written.count(self._jail.leaf.processes())
            self._jail.killer.begin()

    def _facts(self, rooms: tuple[Room, ...]) -> Facts:
        jail, usage = self._jail, self._jail.leaf.usage()
        stdout, stderr = jail.outputs
        return Facts(
            limits=self._job.limits,
            stopped_for=self._stopped_for,
            wait_status=jail.wait_status,
            report=jail.report(),
            usage=replace(
                usage,
                cpu_ns=usage.cpu_ns - jail.spent_ns,
                cpu_user_ns=usage.cpu_user_ns - jail.spent_user_ns,
            ),
            wall_ms=round((jail.ended_at - self._started_at) * 1000) if self._started_at else 0,
            stdout_seen=stdout.seen_bytes,
            stderr_seen=stderr.seen_bytes,
            stdout_kept=stdout.kept_bytes,
            stderr_kept=stderr.kept_bytes,
            rooms=rooms,
            written_bytes=self._jail.written.total_bytes,
        )


async def _finish(output: Output) -> None:
    """Take what is left in the pipe, which holds a mebibyte at the most and has no writer any more,
    and bring what is kept into its order."""
    while output.take():
        pass
    if output.cut_bytes > _LARGE_BYTES:
        await offload(lambda _: output.settle())
    else:
        output.settle()


def _before_its_task(jail: Jail) -> str:
    fault = jail.report().fault or f"it ended with wait status {jail.wait_status}"
    return f"the jail was gone before its task began: {fault}"
