"""One child process: started, probed, watched, restarted, and never left behind.

Rules, and what breaks without them:
- Every child gets a parent-death signal (through `setpriv`, so its own argv stays what an operator
  expects): kill -9 of the parent must not leave databases behind that hold ports and locks.
  Linux sends it when the *thread* that spawned the child ends, so only the main thread may.
- Children get a session of their own: Ctrl-C in a terminal reaches the top process alone, which
  then stops them in order.
- Whoever stops `run`, and at whatever moment, the process is gone when `run` has ended.
- Restarts follow `khala.supervise.restarts`; output follows `khala.supervise.lines`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from enum import StrEnum

from msgspec import Struct

from khala.model.errors import invariant
from khala.supervise import restarts as restarts_module
from khala.supervise.lines import Pump
from khala.supervise.restarts import End, Restarts, end_of

#: After this many ticks without a byte on its watchdog pipe, a child is killed.
WATCHDOG_TICKS = 10
WATCHDOG_TICK_S = 1.0
PROBE_INTERVAL_S = 0.05
#: Exit code of a Khala role that refuses to start as it is configured; see `khala.cli`.
REFUSED = 2


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    UP = "up"
    BACKOFF = "backoff"
    FAILED = "failed"


class ChildSpec(Struct, frozen=True, kw_only=True):
    """What to run and how to treat it."""

    name: str
    argv: tuple[str, ...]
    #: Signal the kernel sends when the parent dies: "TERM" where a clean stop is worth having.
    death_signal: str = "TERM"
    #: From SIGTERM to SIGKILL.
    stop_s: float = 10.0
    #: True when the child serves; polled while it starts. None: up as soon as it runs.
    probe: Callable[[], Awaitable[bool]] | None = None
    #: Gets lines of stdout and stderr; None: the child writes to ours itself.
    on_line: Callable[[str], None] | None = None
    #: The child is given `--watchdog-fd N` and must write to it about once a second.
    watchdog: bool = False
    #: A database: has failed after too many equal ends. Any other child is a role of Khala, whose
    #: exit code `REFUSED` is an answer; a Go program ends with the same code when it panics.
    may_give_up: bool = False
    #: Descriptors the child inherits, such as a lock that must outlive the parent.
    inherit: tuple[int, ...] = ()


class ChildView(Struct, frozen=True, kw_only=True):
    """A child's state, for status output. `since_s` is in seconds since the epoch."""

    name: str
    state: State
    pid: int | None
    restarts: int
    since_s: float
    last_exit: str | None


class Child:
    """Supervises one process while `run` runs."""

    def __init__(self, spec: ChildSpec, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self._on_change = on_change
        self._state = State.STOPPED
        self._since_s = time.time()
        self._served_at: float | None = None
        self._process: Process | None = None
        self._restarts = 0
        self._last_exit: str | None = None
        self._stopping = asyncio.Event()
        #: Set when the child serves for the first time, or never will.
        self.settled = asyncio.Event()
        #: The child refused its configuration; restarting it cannot help.
        self.refused = False

    @property
    def view(self) -> ChildView:
        return ChildView(
            name=self.spec.name,
            state=self._state,
            pid=self._process.pid if self._process else None,
            restarts=self._restarts,
            since_s=self._since_s,
            last_exit=self._last_exit,
        )

    async def run(self) -> None:
        """Keep the child running until `stop`, or until it refuses."""
        try:
            await self._keep_running(Restarts(may_give_up=self.spec.may_give_up))
        finally:
            self.settled.set()

    def stop(self) -> None:
        """Let `run` end the process (TERM, wait, KILL) and itself."""
        self._stopping.set()

    async def _keep_running(self, restarts: Restarts) -> None:
        while not self._stopping.is_set():
            end = await self._live()
            if self._stopping.is_set():
                break
            self._last_exit = end.text
            if end.code == REFUSED and not self.spec.may_give_up:
                self.refused = True
                self._change(State.FAILED)
                return
            now = time.monotonic()
            served_s = now - self._served_at if self._served_at is not None else 0.0
            delay_s = restarts.after(end, now, served_s)
            if delay_s is None:
                self._last_exit += ", again and again; tried once a minute"
                self._change(State.FAILED)
                self.settled.set()
                delay_s = restarts_module.FAILED_PAUSE_S
            else:
                self._change(State.BACKOFF)
            await self._pause(delay_s)
            self._restarts += 1
        self._change(State.STOPPED)

    async def _live(self) -> End:
        """One life of the process."""
        self._served_at = None
        self._change(State.STARTING)
        with ExitStack() as cleanup:
            try:
                process, watchdog = await self._spawn(cleanup)
            except OSError as error:
                return End(code=None, text=f"could not be started: setpriv: {error.strerror}")
            try:
                return end_of(await self._attend(process, watchdog))
            finally:
                self._process = None

    async def _spawn(self, cleanup: ExitStack) -> tuple[Process, int | None]:
        """The process, and the end of its watchdog pipe to read from."""
        invariant(
            threading.current_thread() is threading.main_thread(),
            "a child was spawned outside the main thread: its parent-death signal would come early",
        )
        argv = list(self.spec.argv)
        inherit = list(self.spec.inherit)
        watchdog = output = None
        with ExitStack() as given:
            if self.spec.watchdog:
                watchdog, fed = _pipe(cleanup, given)
                argv += ["--watchdog-fd", str(fed)]
                inherit.append(fed)
            if self.spec.on_line is not None:
                # A pipe of our own: asyncio's would hold back the child's end while a grandchild
                # keeps it open.
                said, output = os.pipe()
                given.callback(os.close, output)
                cleanup.callback(Pump(said, self.spec.on_line).close)
            self._process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", self.spec.death_signal, "--", *argv),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT if output is not None else None,
                start_new_session=True,
                pass_fds=inherit,
            )
        return self._process, watchdog

    async def _attend(self, process: Process, watchdog: int | None) -> int:
        """Look after a running process until it has ended; its return code."""
        # Once more, now that there is a pid.
        self._change(State.STARTING)
        ended = asyncio.ensure_future(process.wait())
        try:
            async with asyncio.TaskGroup() as helpers:
                tasks = [helpers.create_task(self._probe())]
                if watchdog is not None:
                    tasks.append(helpers.create_task(self._watch(process, watchdog)))
                stop = helpers.create_task(self._stopping.wait())
                await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
                for task in (*tasks, stop):
                    task.cancel()
        finally:
            await self._end(process, ended)
        return ended.result()

    async def _end(self, process: Process, ended: asyncio.Future[int]) -> None:
        """TERM, wait, KILL, as far as it takes."""
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait({ended}, timeout=self.spec.stop_s)
        if not ended.done():
            _kill_group(process)
            await asyncio.wait({ended})

    async def _probe(self) -> None:
        while self.spec.probe is not None and not await self.spec.probe():
            await asyncio.sleep(PROBE_INTERVAL_S)
        self._served_at = time.monotonic()
        self._change(State.UP)
        self.settled.set()

    async def _watch(self, process: Process, fd: int) -> None:
        """Kill the child when its event loop stands still; `run` starts it again.

        Silence is counted in ticks of our own loop: a pause of the whole host is nobody's fault.
        Starting takes as long as the probe says, not as long as the watchdog likes.
        """
        silent = 0
        while silent < WATCHDOG_TICKS:
            await asyncio.sleep(WATCHDOG_TICK_S)
            silent += 1
            with contextlib.suppress(BlockingIOError):
                if os.read(fd, 4096):
                    silent = 0
            if self._state is not State.UP:
                silent = 0
        _kill_group(process)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _change(self, state: State) -> None:
        self._state = state
        self._since_s = time.time()
        self._on_change()


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[int, int]:
    """A pipe whose reading end never blocks; each end is closed with its stack."""
    reader, writer = os.pipe()
    reading.callback(os.close, reader)
    writing.callback(os.close, writer)
    os.set_blocking(reader, False)
    return reader, writer


def _kill_group(process: Process) -> None:
    """Only for a process that has not been waited for: its number is still its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
