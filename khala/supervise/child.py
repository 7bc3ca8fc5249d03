"""One child process: started, probed, watched, restarted, and never left behind.

Rules, and what breaks without them:
- Every child gets a parent-death signal (through `setpriv`, so its own argv stays what an operator
  expects): kill -9 of the parent must not leave databases behind that hold ports and locks.
  Linux sends it when the *thread* that spawned the child ends, so spawn from the main thread.
- Children get a session of their own: Ctrl-C in a terminal reaches the top process alone, which
  then stops them in order.
- Restarts back off from half a second to half a minute, and start over after a minute of health:
  a crash costs a second, a crash loop costs nothing.
- A child that ends the same way again and again is left down, and its state says why; a database
  that aborts on its data must not be hammered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from enum import StrEnum

from msgspec import Struct

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
#: Up for this long, a child is healthy again and its back-off starts over.
HEALTHY_S = 60.0
#: This many equal ends within the window, and a child that may give up does.
GIVE_UP_ENDS = 5
GIVE_UP_WINDOW_S = 300.0
#: Without a byte on its watchdog pipe for this long, a child is killed.
WATCHDOG_S = 10.0
PROBE_INTERVAL_S = 0.05
#: Longer lines of a child's output are cut.
LINE_BYTES = 16 * 1024
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
    #: Gets lines of stdout and stderr; None: the child writes to our stderr itself.
    on_line: Callable[[str], None] | None = None
    #: The child is given `--watchdog-fd N` and must write to it about once a second.
    watchdog: bool = False
    #: Leave it down after GIVE_UP_ENDS equal ends.
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
        self._process: Process | None = None
        self._restarts = 0
        self._last_exit: str | None = None
        self._ends: list[tuple[float, int]] = []
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
        """Keep the child running until `stop`, or until it is given up or refuses."""
        backoff_s = BACKOFF_MIN_S
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                break
            self._last_exit = describe_exit(code)
            if code == REFUSED:
                self.refused = True
                self._change(State.FAILED)
                break
            if self._gives_up(code):
                self._change(State.FAILED)
                break
            if time.monotonic() - started > HEALTHY_S:
                backoff_s = BACKOFF_MIN_S
            self._change(State.BACKOFF)
            await self._pause(backoff_s)
            backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)
            self._restarts += 1
        if self._stopping.is_set():
            self._change(State.STOPPED)
        self.settled.set()

    async def stop(self) -> None:
        """TERM, wait, KILL; returns when the process is gone."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        _signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(self.spec.stop_s):
                await process.wait()
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await process.wait()

    async def _live(self) -> int:
        """One life of the process; its exit code, negative for a signal."""
        self._change(State.STARTING)
        watchdog = os.pipe() if self.spec.watchdog else None
        try:
            process = self._process = await self._spawn(watchdog[1] if watchdog else None)
        finally:
            if watchdog:
                os.close(watchdog[1])
        self._change(State.STARTING)
        helpers = [asyncio.ensure_future(self._probe())]
        if self.spec.on_line is not None and process.stdout is not None:
            helpers.append(asyncio.ensure_future(_pump(process.stdout, self.spec.on_line)))
        if watchdog:
            helpers.append(asyncio.ensure_future(self._watch(process, watchdog[0])))
        try:
            if self._stopping.is_set():
                _signal(process, signal.SIGTERM)
            return await process.wait()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            if watchdog:
                os.close(watchdog[0])
            self._process = None

    async def _spawn(self, watchdog_fd: int | None) -> Process:
        argv = list(self.spec.argv)
        inherit = list(self.spec.inherit)
        if watchdog_fd is not None:
            argv += ["--watchdog-fd", str(watchdog_fd)]
            inherit.append(watchdog_fd)
        output = PIPE if self.spec.on_line is not None else None
        return await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", self.spec.death_signal, "--", *argv),
            stdin=DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT if output else None,
            start_new_session=True,
            pass_fds=inherit,
            limit=LINE_BYTES,
        )

    async def _probe(self) -> None:
        while self.spec.probe is not None and not await self.spec.probe():
            await asyncio.sleep(PROBE_INTERVAL_S)
        self._change(State.UP)
        self.settled.set()

    async def _watch(self, process: Process, fd: int) -> None:
        """Kill the child when its event loop stands still; `run` starts it again."""
        os.set_blocking(fd, False)
        heard_at = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            try:
                if os.read(fd, 4096):
                    heard_at = time.monotonic()
            except BlockingIOError:
                pass
            # Starting takes as long as its probe says, not as long as the watchdog likes.
            if self._state is State.UP and time.monotonic() - heard_at > WATCHDOG_S:
                _signal(process, signal.SIGKILL)
                return

    def _gives_up(self, code: int) -> bool:
        now = time.monotonic()
        self._ends = [end for end in self._ends if now - end[0] < GIVE_UP_WINDOW_S]
        self._ends.append((now, code))
        equal = sum(end[1] == code for end in self._ends)
        # A kill from outside says nothing about the child.
        return self.spec.may_give_up and code != -signal.SIGKILL and equal >= GIVE_UP_ENDS

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _change(self, state: State) -> None:
        self._state = state
        self._since_s = time.time()
        self._on_change()


def describe_exit(code: int) -> str:
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exited with {code}"


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


async def _pump(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    """Hand on lines; one that is too long is dropped to its next end, the child never blocks."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        on_line(line.decode(errors="replace").rstrip())
