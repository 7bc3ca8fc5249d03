"""What is cancelled ends, also where the first cancellation is lost."""

from __future__ import annotations

import asyncio

import pytest

from khala.net import loop


async def test_a_cancellation_that_is_forgotten_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "_AGAIN_S", 0.01)
    forgotten = 0

    async def work() -> None:
        nonlocal forgotten
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                forgotten += 1
                if forgotten > 2:
                    raise

    async def fail() -> None:
        raise ValueError

    tasks = [asyncio.create_task(each()) for each in (work, work, fail)]
    await asyncio.sleep(0)
    await loop.end_all(tasks)
    assert [task.done() for task in tasks] == [True] * 3
    assert forgotten > 2
    assert isinstance(tasks[2].exception(), ValueError)
    await loop.end_all([])
