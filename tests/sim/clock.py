"""Virtual time and the processes that live in it.

Everything random comes from the clock's generator and everything happens in the order of one
heap, so a seed is a whole history that can be repeated. Coroutines are driven by hand: the core
awaits nothing but its ports, and the ports await nothing but a `Suspension`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Coroutine, Generator
from typing import Generic, TypeVar, cast

Result = TypeVar("Result")
Action = Callable[[], None]


class Resume(Generic[Result]):
    """Continues a suspended flow, once."""

    def __init__(self, step: Callable[[object, Exception | None], None]) -> None:
        self._step = step

    def answer(self, value: Result) -> None:
        self._step(value, None)

    def fail(self, error: Exception) -> None:
        self._step(None, error)


class Suspension(Generic[Result]):
    """What a flow waits for; `arrange` is told how to continue it."""

    def __init__(self, arrange: Callable[[Resume[Result]], None]) -> None:
        self.arrange = arrange

    def __await__(self) -> Generator[Suspension[Result], object, Result]:
        return cast(Result, (yield self))


class Clock:
    """The heap of what will happen."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._heap: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def at(self, when: float, action: Action) -> None:
        heapq.heappush(self._heap, (max(when, self.now), next(self._order), action))

    def after(self, delay: float, action: Action) -> None:
        self.at(self.now + delay, action)

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = until


class Node:
    """A process: it can crash (everything in memory is gone) and be paused (nothing happens in it
    until it goes on, with all its timers late)."""

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.up = False
        self.life = 0
        self.paused_until = 0.0
        self._buried = False
        self._flows: dict[Coroutine[object, object, None], None] = {}

    def later(self, delay: float, action: Action) -> None:
        """Run `action` in this life of the process, not while it is paused."""
        life = self.life

        def run() -> None:
            if not self.up or self.life != life:
                return
            if self.clock.now < self.paused_until:
                self.clock.at(self.paused_until, run)
                return
            action()

        self.clock.after(delay, run)

    def every(self, interval: float, action: Action) -> None:
        """Repeat, starting at a random phase."""

        def run() -> None:
            action()
            self.later(interval, run)

        self.later(self.clock.random.uniform(0, interval), run)

    def spawn(self, flow: Coroutine[object, object, None]) -> None:
        if not self.up:
            flow.close()
            return
        self._flows[flow] = None
        self.later(0, lambda: self._step(flow, None, None))

    def _step(
        self, flow: Coroutine[object, object, None], value: object, error: Exception | None
    ) -> None:
        try:
            waits_for = flow.throw(error) if error is not None else flow.send(value)
        except StopIteration:
            self._flows.pop(flow, None)
            return
        suspension = cast("Suspension[object]", waits_for)
        resumed = False

        def resume(value: object, error: Exception | None) -> None:
            nonlocal resumed
            if not resumed and flow in self._flows:
                resumed = True
                self.later(0, lambda: self._step(flow, value, error))

        suspension.arrange(Resume(resume))

    async def sleep(self, seconds: float) -> None:
        await Suspension[None](lambda resume: self.later(seconds, lambda: resume.answer(None)))

    def start_process(self) -> None:
        """Begin a life, unless one is under way."""
        raise NotImplementedError

    def die(self, *, silently: bool) -> None:
        """End this life; `silently` = without closing sockets, as when the host vanishes."""
        raise NotImplementedError

    def replace_process(self, delay: float, *, silently: bool) -> None:
        self.die(silently=silently)
        self.clock.after(delay, self.start_process)

    def bury(self, *, silently: bool) -> None:
        """It dies and never starts again."""
        self._buried = True
        if self.up:
            self.die(silently=silently)

    def begin(self) -> None:
        self.up = not self._buried
        self.life += 1
        self.paused_until = 0.0

    def crash(self) -> None:
        """Nothing of this life happens any more."""
        self.up = False
        self.life += 1
        flows, self._flows = self._flows, {}
        for flow in flows:
            flow.close()
