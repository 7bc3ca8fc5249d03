"""What becomes of a box whose waiting jail cannot be ended."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from khala.model.errors import Unavailable
from sandbox.box import Box
from sandbox.host import Host
from sandbox.pool import Pool


class Stubborn:
    """A box, and the supply of its jails."""

    def __init__(self) -> None:
        self.supply = self
        self.released = False

    async def discard(self) -> None:
        raise Unavailable("a process cannot be killed")

    def release(self) -> None:
        self.released = True


class Slow(Stubborn):
    """One that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def discard(self) -> None:
        await self.go.wait()


async def test_who_gives_up_waiting_leaves_the_slot_once() -> None:
    """Twice, two jails would be made for it."""
    pool, used = Pool(cast(Host, None)), Slow()
    pool.give_back(0, cast(Box, used))
    taking = asyncio.ensure_future(pool.take(0))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    used.go.set()
    await pool.settle()
    assert list(pool._cold) == [0]


async def test_its_files_are_freed_and_the_next_task_of_the_slot_is_told() -> None:
    pool, used = Pool(cast(Host, None)), Stubborn()
    pool.give_back(0, cast(Box, used))
    await pool.settle()
    assert used.released
    with pytest.raises(Unavailable, match="cannot be killed"):
        await pool.take(0)
