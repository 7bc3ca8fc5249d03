"""One stage from its first process to its last: start, watch, kill, measure.

The event loop watches three descriptors (two outputs, the process) and two timers (wall time; one
for what can only be polled: processor time and out-of-memory kills). Every read is bounded, so a
flood of output costs the loop a slice per turn and ends at the limit. Nothing here runs long: the
parts that wait, wait in the loop.

A stage is over when nsjail is reaped and the cgroup is empty (see `sandbox.killing`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol

from khala.model.task import OnOutputLimit, Reason, StageOutcome
from sandbox import nsjail
from sandbox.group import Leaf
from sandbox.job import Job
from sandbox.killing import Killer, children_of, empty
from sandbox.offload import offload
from sandbox.output import Output, sealed_copy
from sandbox.verdict import Facts, Room, judge
from sandbox.written import Written

_POLL_MIN_S = 0.005
_POLL_MAX_S = 0.05
#: Somewhat more than setting up a jail takes; the shortest tasks never get there.
_SPARE_S = 0.01
#: Work on more than this leaves the event loop for a thread.
_LARGE_BYTES = 256 * 1024


class Cancel(Protocol):
    """What is needed of an `asyncio.Event`."""

    def is_set(self) -> bool: ...
    async def wait(self) -> object: ...


class StageRun:
    """Runs one job once."""

    def __init__(self, place: nsjail.Place, leaf: Leaf, job: Job) -> None:
        self._place = place
        self._leaf = leaf
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._stopped_for: Reason | None = None
        self._failure: BaseException | None = None
        self._interrupted: asyncio.CancelledError | None = None
        self._started_at = 0.0
        self._wall_ms = 0
        self._wait_status = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def run(self, cancel: Cancel, rooms: Callable[[], tuple[Room, ...]]) -> StageOutcome:
        """Raises SandboxLost, or OSError when the service's own files or cgroups fail.

        Cancelling the calling task kills the jail first, and then lets the cancellation through.
        """
        with ExitStack() as closing:
            self._start(closing)
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._stop_when_set(cancel))
                # Moving a process between cgroups waits, now and then, for every processor to
                # have passed a quiet point: up to 20 ms in which the loop must not stand still.
                attached = self._loop.run_in_executor(None, self._leaf.attach, self._child.pid)
                await self._settle(attached)
                self._failure = self._failure or attached.exception()
                self._open_gate()
                await self._settle(self._over)
                watcher.cancel()
            await empty(self._leaf)
            for output in self._outputs:
                await _finish(output)
            if self._interrupted is not None:
                raise self._interrupted
            if self._failure is not None:
                raise self._failure
            return judge(self._facts(rooms()))

    async def _settle(self, future: asyncio.Future[None]) -> None:
        """Wait for it in any case: a cancellation stops the stage, and is remembered."""
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                self._interrupted = error
                self.stop(Reason.CANCELLED)

    # ---- start ------------------------------------------------------------------------------

    def _start(self, closing: ExitStack) -> None:
        """Everything up to an nsjail that waits for its policy."""
        job, uid = self._job, self._place.uid
        self._leaf.create()
        self._leaf.limit(job.limits)
        stdin_fd = _open_stdin(job.stdin, uid)
        closing.callback(os.close, stdin_fd)
        outputs = []
        for path in (job.stdout, job.stderr):
            output = Output(uid)
            closing.callback(output.close)
            output.open(path, job.limits.output_bytes)
            outputs.append(output)
        self._outputs = (outputs[0], outputs[1])
        self._child = nsjail.spawn(
            self._place, job, (stdin_fd, outputs[0].write_fd, outputs[1].write_fd)
        )
        closing.callback(self._child.close)
        self._written = Written(self._child)
        try:
            nsjail.prepare(self._child.pid, job.limits)
            self._pidfd = os.pidfd_open(self._child.pid)
        except OSError:
            # No policy was sent, so there is no jail: nsjail alone can be killed and reaped.
            os.kill(self._child.pid, signal.SIGKILL)
            os.waitpid(self._child.pid, 0)
            raise
        closing.callback(os.close, self._pidfd)
        self._killer = Killer(self._leaf, self._child.pid, self._pidfd, self._over)
        closing.callback(self._killer.close)
        self._started_at = time.monotonic()
        self._loop.add_reader(self._pidfd, self._on_exit)
        for output in outputs:
            output.close_write_end()
            self._loop.add_reader(output.read_fd, self._on_output, output)
        closing.callback(self._stop_watching)

    def _open_gate(self) -> None:
        if self._failure is not None:
            self.stop(Reason.INTERNAL)
        if self._stopped_for is not None or self._over.done():
            return
        self._started_at = time.monotonic()
        self._written.begin()
        self._child.open_gate()
        self._after("wall", self._job.limits.wall_ms / 1000, self._on_wall_time)
        self._after("poll", _POLL_MAX_S, self._on_poll)
        self._after("spare", _SPARE_S, self._spare_nsjail)

    def _stop_watching(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._loop.remove_reader(self._pidfd)
        for output in self._outputs:
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

    def _fail(self, error: OSError) -> None:
        self._failure = error
        self.stop(Reason.INTERNAL)

    def _spare_nsjail(self) -> None:
        """Once its child exists, which must not inherit this: see `nsjail.spare`."""
        if self._over.done():
            return
        if children_of(self._child.pid):
            nsjail.spare(self._child.pid)
        else:
            self._after("spare", _SPARE_S, self._spare_nsjail)

    def _on_wall_time(self) -> None:
        self.stop(Reason.WALL_TIME)

    def _on_poll(self) -> None:
        limits = self._job.limits
        try:
            left_s = limits.cpu_ms / 1000 - self._leaf.cpu_ns() / 1e9
            oom_kills = self._leaf.oom_kills()
        except OSError as error:
            # Without this look the limits would not be enforced.
            self._fail(error)
            return
        if oom_kills:
            self.stop(Reason.MEMORY)
        elif left_s < 0:
            self.stop(Reason.CPU_TIME)
        else:
            # The quota bounds how soon the limit can be met.
            pause_s = min(_POLL_MAX_S, max(_POLL_MIN_S, left_s / limits.cpus))
            self._after("poll", pause_s, self._on_poll)

    def _on_exit(self) -> None:
        self._wall_ms = round((time.monotonic() - self._started_at) * 1000)
        self._loop.remove_reader(self._pidfd)
        self._written.count((self._child.pid,))
        with suppress(ChildProcessError):  # reaped by others: nsjail's log has to do
            _, self._wait_status = os.waitpid(self._child.pid, 0)
        if not self._over.done():
            self._over.set_result(None)

    async def _stop_when_set(self, cancel: Cancel) -> None:
        await cancel.wait()
        self.stop(Reason.CANCELLED)

    # ---- the end -----------------------------------------------------------------------------

    def stop(self, reason: Reason) -> None:
        """Kill everything; the first reason counts."""
        if self._stopped_for is None and not self._over.done():
            self._stopped_for = reason
            self._written.count(self._leaf.processes())
            self._killer.begin()

    def _facts(self, rooms: tuple[Room, ...]) -> Facts:
        stdout, stderr = self._outputs
        return Facts(
            limits=self._job.limits,
            stopped_for=self._stopped_for,
            wait_status=self._wait_status,
            report=self._child.report(),
            usage=self._leaf.usage(),
            wall_ms=self._wall_ms,
            stdout_seen=stdout.seen_bytes,
            stderr_seen=stderr.seen_bytes,
            stdout_kept=stdout.kept_bytes,
            stderr_kept=stderr.kept_bytes,
            rooms=rooms,
            written_bytes=self._written.total_bytes,
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


def _open_stdin(path: str | None, gid: int) -> int:
    if path is None:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    if gid == os.getegid():
        return sealed_copy(fd)
    try:
        # Readable by /dev/stdin inside; still ours, so the task can neither write nor chmod it.
        os.fchown(fd, -1, gid)
        os.fchmod(fd, 0o640)
    except OSError:
        os.close(fd)
        raise
    return fd
