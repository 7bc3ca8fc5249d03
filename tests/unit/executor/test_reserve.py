"""Those who write at the same time are promised no more than there is."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from roles.executor.attempt import unless_cancelled
from roles.executor.reserve import Reserve


@pytest.fixture
def reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reserve:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    return Reserve(tmp_path)


async def hold(reserve: Reserve, size: int, held: list[int], until: asyncio.Event) -> None:
    async with reserve.awaited(size):
        held.append(size)
        await until.wait()


async def test_who_comes_later_waits_for_room(reserve: Reserve) -> None:
    held: list[int] = []
    first, rest = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold(reserve, 70, held, first))
        await asyncio.sleep(0)
        tasks.create_task(hold(reserve, 60, held, rest))
        tasks.create_task(hold(reserve, 30, held, rest))
        for _ in range(5):
            await asyncio.sleep(0)
        assert held == [70, 30]
        assert reserve.has(0) and not reserve.has(1)
        first.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert held == [70, 30, 60]
        rest.set()
    assert reserve.has(100)


async def test_nobody_waits_alone(reserve: Reserve) -> None:
    """There is nothing to wait for; whether the disk is full shows when it is written to."""
    async with asyncio.timeout(10), reserve.awaited(1000):
        assert not reserve.has(0)


async def test_a_cancelled_attempt_gives_its_promise_back(reserve: Reserve) -> None:
    cancel = asyncio.Event()

    async def write() -> None:
        async with reserve.awaited(100):
            cancel.set()
            await asyncio.sleep(3600)

    await unless_cancelled(write(), cancel)
    assert reserve.has(100)


async def test_work_that_ends_by_itself_is_not_disturbed() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await unless_cancelled(work(), asyncio.Event()) == 7


async def test_work_that_fails_says_so() -> None:
    async def work() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await unless_cancelled(work(), asyncio.Event())


async def test_who_is_ended_waits_for_the_work_to_end() -> None:
    """It uses descriptors that are closed afterwards."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    waiting = asyncio.ensure_future(unless_cancelled(work(), asyncio.Event()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert ended == [True]
