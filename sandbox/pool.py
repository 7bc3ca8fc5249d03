"""Boxes with a jail that waits, one per slot, made while nobody waits for them.

A slot's used box is taken down, and its next one made, after its task's result was handed on:
neither is on the way of a result. Only so many slots are kept warm, and only a few are made at the
same time, because each takes a processor for ten milliseconds. A slot that is not warm when its
task comes gets a box on demand, and its jail in `Supply.take`: the same calls, in a row.

Whoever runs one thing after another in a slot says so, and the next box is made while the one
before it is used: a slot has two places for boxes, its sides, and goes from one to the other. Both
have the slot's uid, and nothing else in common.

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
from typing import TypeAlias

from khala.model.errors import KhalaError
from sandbox.box import Box
from sandbox.host import Host
from sandbox.job import SIDES

#: A slot, and which of its two sides.
Place: TypeAlias = tuple[int, int]
#: Made at the same time, at the most.
_AT_ONCE = max(2, os.cpu_count() or 1)


class Pool:
    """Hands out boxes by slot; owns the tasks that renew them until `close`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._warm = 0
        #: Where a slot's last box was: the next one is there, too, unless the other side has one.
        self._sides: dict[int, int] = {}
        #: With a jail that waits, or will soon.
        self._idle: dict[Place, Box] = {}
        #: Being taken down, or made, or both.
        self._renewing: dict[Place, asyncio.Task[None]] = {}
        self._making: set[Place] = set()
        #: To be made when what was there is taken down.
        self._awaited: set[Place] = set()
        #: Slots that are taken, or about to be: theirs are made by whoever takes them.
        self._wanted: set[int] = set()
        #: Slots that are free and not warm, in the order in which they may become so.
        self._cold: deque[int] = deque()
        #: What taking down a slot's last box came to, until its next task hears of it.
        self._failed: dict[Place, KhalaError | OSError] = {}

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
        if self._place(slot) not in self._idle and self._is_made(self._other(slot)):
            self._sides[slot] = self._other(slot)[1]
        place = self._place(slot)
        try:
            box = await self._made(place)
        except BaseException:
            self._wanted.discard(slot)
            # A renewal that goes on puts the slot where it belongs by itself.
            self._cool(slot)
            raise
        self._make_more()
        return box

    async def _made(self, place: Place) -> Box:
        while place in self._renewing:
            await asyncio.wait([self._renewing[place]])
        for side in SIDES:
            if (place[0], side) in self._failed:
                raise self._failed.pop((place[0], side))
        return self._idle.pop(place, None) or Box(self._host, *place)

    def prepare(self, slot: int) -> None:
        """Of a slot whose box is used: make the next one on its other side, in the background."""
        other = self._other(slot)
        if self._is_made(other):
            return
        if other in self._renewing:
            self._awaited.add(other)
        elif self._may_make():
            self._renew(other, None)

    def give_back(self, slot: int, box: Box) -> None:
        """Take it down and make the slot's next one, unless there is one, in the background."""
        self._wanted.discard(slot)
        self._renew(self._place(slot), box)

    def choose(self, free: Collection[int]) -> int:
        """Of these slots, the one whose box is the furthest."""
        return min(free, key=self._distance)

    def _distance(self, slot: int) -> tuple[int, int]:
        return (min(self._way(place) for place in (self._place(slot), self._other(slot))), slot)

    def _way(self, place: Place) -> int:
        box = self._idle.get(place)
        if box is not None:
            return 0 if box.supply.waits else 1
        return 2 if place in self._making else 3

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

    # ---- both sides of a slot ---------------------------------------------------------------

    def _place(self, slot: int) -> Place:
        return (slot, self._sides.get(slot, 0))

    def _other(self, slot: int) -> Place:
        return (slot, 1 - self._sides.get(slot, 0))

    def _is_made(self, place: Place) -> bool:
        """Or will be, soon."""
        return place in self._idle or place in self._making

    def _has_one(self, slot: int) -> bool:
        return any(self._is_made((slot, side)) for side in SIDES)

    # ---- renewing ---------------------------------------------------------------------------

    def _make_more(self) -> None:
        while self._cold and self._may_make():
            slot = self._cold.popleft()
            if not self._has_one(slot):
                self._renew(self._place(slot), None)

    def _may_make(self) -> bool:
        making = len(self._making)
        return making < _AT_ONCE and len(self._idle) + making < self._warm

    def _renew(self, place: Place, used: Box | None) -> None:
        if self._may_make() and (used is None or not self._has_one(place[0])):
            self._making.add(place)
        self._renewing[place] = asyncio.ensure_future(self._turn_over(place, used))

    async def _turn_over(self, place: Place, used: Box | None) -> None:
        make = place in self._making
        cool = False
        try:
            if used is not None:
                await _end_jail(used)
            box = await asyncio.to_thread(_turn_over, self._host, place, used, make=make)
            if box is not None:
                box.supply.watch()
                self._idle[place] = box
            cool = not make
        except (KhalaError, OSError) as error:
            self._failed[place] = error
        finally:
            del self._renewing[place]
            self._making.discard(place)
        slot = place[0]
        if place in self._awaited:
            self._awaited.discard(place)
            # Unless its slot has gone on without it, on this side or with the other one.
            if slot in self._wanted and place == self._other(slot):
                self.prepare(slot)
        if cool and slot not in self._wanted:
            self._cool(slot)
        self._make_more()

    def _cool(self, slot: int) -> None:
        """It may be made warm, unless something of it is under way, which ends here, too."""
        under_way = any((slot, side) in self._renewing for side in SIDES)
        if not (under_way or self._has_one(slot) or slot in self._cold):
            self._cold.append(slot)


async def _end_jail(used: Box) -> None:
    try:
        await used.supply.discard()
    except (KhalaError, OSError):
        # Its files go all the same: the slot's next box would be mounted over them, for good.
        await asyncio.to_thread(used.release)
        raise


def _turn_over(host: Host, place: Place, used: Box | None, *, make: bool) -> Box | None:
    """One turn in a thread for everything that blocks."""
    if used is not None:
        used.release()
    if not make:
        return None
    try:
        box = Box(host, *place)
    except OSError:
        return None
    try:
        box.supply.make()
    except (KhalaError, OSError):
        box.release()
        return None
    return box
