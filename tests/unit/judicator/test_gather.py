"""Which messages wait for others, and for how long at most."""

from __future__ import annotations

import asyncio

import pytest

from roles.judicator.gather import Gathering


async def test_what_is_urgent_takes_the_rest_along_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roles.judicator.gather.GATHER_S", 3600)
    messages = Gathering[int]()
    taking = asyncio.ensure_future(messages.take())
    messages.add(1, urgent=False)
    messages.add(2, urgent=False)
    await asyncio.sleep(0.01)
    assert not taking.done()
    assert len(messages) == 2
    messages.add(3, urgent=True)
    async with asyncio.timeout(5):
        assert await taking == [1, 2, 3]
    assert len(messages) == 0


async def test_what_is_not_leaves_alone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roles.judicator.gather.GATHER_S", 0.01)
    messages = Gathering[int]()
    for number in (1, 2):
        messages.add(number, urgent=False)
        async with asyncio.timeout(5):
            assert await messages.take() == [number]


async def test_what_left_with_others_wakes_nobody_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roles.judicator.gather.GATHER_S", 0.01)
    messages = Gathering[int]()
    messages.add(1, urgent=False)
    messages.add(2, urgent=True)
    assert await messages.take() == [1, 2]
    taking = asyncio.ensure_future(messages.take())
    await asyncio.sleep(0.05)
    assert not taking.done()
    messages.hurry()
    async with asyncio.timeout(5):
        assert await taking == []
