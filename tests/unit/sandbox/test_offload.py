"""Work in a thread uses descriptors that are closed afterwards: it must be over by then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from sandbox.offload import offload


async def test_a_second_cancellation_does_not_leave_the_work_alone() -> None:
    begun, told, end, over = (threading.Event() for _ in range(4))

    def work(stopped: Callable[[], bool]) -> None:
        begun.set()
        while not stopped():
            pass
        told.set()
        end.wait()
        over.set()

    caller = asyncio.ensure_future(offload(work))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    await asyncio.to_thread(told.wait)
    caller.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    early = caller.done()
    end.set()
    assert not early
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert over.is_set()
