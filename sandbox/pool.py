"""Boxes with a jail that waits, one per slot, made while nobody waits for them.

A slot's used box is taken down, and its next one made, after its task's result was handed on:
neither is on the way of a result. Only so many slots are kept warm, and only a few are made at the
same time, because each takes a processor for ten milliseconds. A slot that is not warm when its
task comes gets a box on demand, and its jail in `Supply.take`: the same calls, in a row.

What fails here fails in nobody's name. A box that could not be made is made again when a task
needs it, which then hears why; a used box that could not be taken down is the next task's to hear
of, because its remains would be in that one's way.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Collection
from contextlib import suppress

from khala.model.errors import KhalaError
from sandbox.box import Box
from sandbox.host import Host

#: Made at the same time, at the most.
_AT_ONCE = max(2, os.cpu_count() or 1)


class Pool:
    """Hands out boxes by slot; owns the tasks that renew them until `close`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._warm = 0
        #: With a jail that waits, or will soon.
        self._idle: dict[int, Box] = {}
        #: Being taken down, or made, or both.
        self._renewing: dict[int, asyncio.Task[None]] = {}
        self._making: set[int] = set()
        #: Taken, or about to be: theirs are made by whoever takes them.
        self._wanted: set[int] = set()
        #: Free and not warm, in the order in which they may become so.
        self._cold: deque[int] = deque()
        #: What taking down a slot's last box came to, until its next task hears of it.
        self._failed: dict[int, KhalaError | OSError] = {}

    async def start(self) -> None:
        """Begin to make what may wait. Call once, when no box is in use."""
        await self.settle()
        self._warm = self._host.warm
        self._cold = deque(range(self._host.config.slots))
        self._make_more()

    async def take(self, slot: int) -> Box:
        """The slot's box, made now if none waits. Raises OSError, Unavailable."""
        self._wanted.add(slot)
        with suppress(ValueError):
            self._cold.remove(slot)
        try:
            box = await self._made(slot)
        except BaseException:
            self._wanted.discard(slot)
            # A renewal that goes on puts the slot where it belongs by itself.
            if slot not in self._renewing:
                self._cold.append(slot)
            raise
        self._make_more()
        return box

    async def _made(self, slot: int) -> Box:
        while slot in self._renewing:
            await asyncio.wait([self._renewing[slot]])
        if slot in self._failed:
            raise self._failed.pop(slot)
        return self._idle.pop(slot, None) or Box(self._host, slot)

    def give_back(self, slot: int, box: Box) -> None:
        """Take it down and make the slot's next one, in the background."""
        self._wanted.discard(slot)
        self._renew(slot, box)

    def choose(self, free: Collection[int]) -> int:
        """Of these slots, the one whose box is the furthest."""
        return min(free, key=self._distance)

    def _distance(self, slot: int) -> tuple[int, int]:
        box = self._idle.get(slot)
        if box is not None:
            return (0 if box.supply.waits else 1, slot)
        return (2 if slot in self._making else 3, slot)

    async def settle(self) -> None:
        """Return when nothing is being made or taken down."""
        while self._renewing:
            await asyncio.wait(self._renewing.values())

    async def close(self) -> None:
        """Take everything down. Raises what one of the takings-down came to."""
        self._cold.clear()
        self._warm = 0
        await self.settle()
        while self._idle:
            self._renew(*self._idle.popitem())
        await self.settle()
        for error in self._failed.values():
            raise error

    # ---- renewing ---------------------------------------------------------------------------

    def _make_more(self) -> None:
        while self._cold and self._may_make():
            self._renew(self._cold.popleft(), None)

    def _may_make(self) -> bool:
        making = len(self._making)
        return making < _AT_ONCE and len(self._idle) + making < self._warm

    def _renew(self, slot: int, used: Box | None) -> None:
        if self._may_make():
            self._making.add(slot)
        self._renewing[slot] = asyncio.ensure_future(self._turn_over(slot, used))

    async def _turn_over(self, slot: int, used: Box | None) -> None:
        make = slot in self._making
        try:
            if used is not None:
                await _end_jail(used)
            box = await asyncio.to_thread(_turn_over, self._host, slot, used, make=make)
            if box is not None:
                box.supply.watch()
                self._idle[slot] = box
            elif not make and slot not in self._wanted:
                self._cold.append(slot)
        except (KhalaError, OSError) as error:
            self._failed[slot] = error
        finally:
            del self._renewing[slot]
            self._making.discard(slot)
        self._make_more()


async def _end_jail(used: Box) -> None:
    try:
        await used.supply.discard()
    except (KhalaError, OSError):
        # Its files go all the same: the slot's next box would be mounted over them, for good.
        await asyncio.to_thread(used.release)
        raise


def _turn_over(host: Host, slot: int, used: Box | None, *, make: bool) -> Box | None:
    """One turn in a thread for everything that blocks."""
    if used is not None:
        used.release()
    if not make:
        return None
    try:
        box = Box(host, slot)
    except OSError:
        return None
    try:
        box.supply.make()
    except (KhalaError, OSError):
        box.release()
        return None
    return box
