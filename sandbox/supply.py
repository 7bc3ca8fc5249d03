"""The jails of one box: the next one is made while nobody waits for it, each is used once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count

from khala.model.errors import KhalaError
from sandbox.group import Leaf
from sandbox.host import Host
from sandbox.jail import Jail
from sandbox.job import PLAIN, Fit

#: Leaves of cgroups are numbered, so that what is left of one is never in the way of the next.
_numbers = count()


class Supply:
    """At most one jail waits; whoever takes it runs it to its end."""

    def __init__(self, host: Host, slot: int, side: int = 0) -> None:
        self._host = host
        self._slot = slot
        self._side = side
        self._leaves: list[Leaf] = []
        self._made: Jail | None = None
        self._fit = PLAIN
        self._making: asyncio.Task[None] | None = None

    def make(self, fit: Fit = PLAIN) -> None:
        """Make the next one here and now: in any thread, for some milliseconds."""
        place = self._host.place(self._slot, fit, self._side)
        leaf = self._host.tree.leaf(f"{self._slot}-{next(_numbers)}")
        self._leaves.append(leaf)
        self._made, self._fit = Jail(place, leaf), fit

    def prepare(self, fit: Fit) -> None:
        """Have the next one made in the background. A failure shows when it is taken."""
        if self._made is None and self._making is None:
            self._making = asyncio.ensure_future(asyncio.to_thread(self.make, fit))

    def watch(self) -> None:
        """Give one that was made in a thread to this loop."""
        if self._made is not None:
            self._made.watch()

    @property
    def waits(self) -> bool:
        """Whether a jail could be told to go right now."""
        return self._made is not None and self._made.waits

    async def take(self, fit: Fit) -> Jail:
        """The one that was made, or else one made now; it may not be ready yet. One that died
        while it waited, or was made for another fit, is replaced. Raises OSError, Unavailable."""
        await self._finish_making()
        if self._made is not None and (self._made.over.done() or self._fit != fit):
            await self.discard()
        if self._made is None:
            self.prepare(fit)
            await self._finish_making()
        jail, self._made = self._made, None
        if jail is None:
            raise RuntimeError("a jail was made and is not there")
        return jail

    async def discard(self) -> None:
        """End the one that was not taken. Raises Unavailable if it cannot be killed."""
        with suppress(KhalaError, OSError):  # then there is nothing to end
            await self._finish_making()
        if self._made is not None:
            jail, self._made = self._made, None
            await jail.discard()

    async def _finish_making(self) -> None:
        """A caller that is cancelled leaves it under way, for the next one."""
        making = self._making
        if making is None:
            return
        await asyncio.wait([making])
        if self._making is making:
            self._making = None
            making.result()
            self.watch()

    def remove_leaves(self) -> bool:
        """Of every jail there was; False while one is not quite dead."""
        self._leaves = [leaf for leaf in self._leaves if not leaf.try_remove()]
        return not self._leaves
