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


class Made(Stubborn):
    """A box that goes as it should."""

    def __init__(self, host: object, slot: int, side: int) -> None:
        super().__init__()
        self.place = (slot, side)
        self.waits = True

    def make(self) -> None: ...

    def watch(self) -> None: ...

    async def discard(self) -> None: ...


class Machine:
    """Two slots, both of which may be warm."""

    warm = 2

    class config:  # noqa: N801 - as the host has it
        slots = 2


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setattr("sandbox.pool.Box", Made)
    pool = Pool(cast(Host, Machine()))
    await pool.start()
    await pool.settle()
    return pool


def place_of(box: Box) -> tuple[int, int]:
    return cast(Made, box).place


async def test_the_next_box_is_made_on_the_other_side_while_one_is_used(pool: Pool) -> None:
    used = await pool.take(0)
    places = [place_of(used)]
    for _ in range(6):
        pool.prepare(0)
        await pool.settle()
        assert pool._is_made(pool._other(0))
        pool.give_back(0, used)
        used = await pool.take(0)
        places.append(place_of(used))
    assert places == [(0, n % 2) for n in range(7)]
    pool.give_back(0, used)
    await pool.close()


async def test_whoever_hurries_finds_the_sides_in_turns_too(pool: Pool) -> None:
    """Nothing is settled between: what is taken down is made again when it is."""
    for n in range(40):
        used = await pool.take(0)
        if n < 39:
            pool.prepare(0)
            pool.prepare(0)
        pool.give_back(0, used)
    await pool.settle()
    assert {*pool._renewing} == {*pool._making} == set()
    assert sorted(slot for slot, _ in pool._idle) == [0, 1] and not pool._cold
    await pool.close()
    assert not pool._idle and not pool._awaited


async def test_a_slot_that_is_done_leaves_the_others_their_share(pool: Pool) -> None:
    first, second = await pool.take(0), await pool.take(1)
    pool.prepare(0)
    pool.prepare(1)
    await pool.settle()
    assert {*pool._idle} == {(0, 1), (1, 1)}
    pool.give_back(0, first)
    pool.give_back(1, second)
    await pool.settle()
    assert {*pool._idle} == {(0, 1), (1, 1)} and not pool._cold
    await pool.close()
