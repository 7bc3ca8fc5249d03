"""The event loop of a serving process, and the end of what runs on one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Sequence
from typing import TypeVar

import uvloop

Answer = TypeVar("Answer")

#: Requests allocate many short-lived objects and hardly any cycles; Python's own 700 would walk
#: the young ones several times per request.
_YOUNG_OBJECTS = 20_000
_AGAIN_S = 1.0


def run(main: Coroutine[object, object, Answer]) -> Answer:
    """Run `main` on uvloop. What is loaded by now lives as long as the process: it is never
    looked at by the garbage collector again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
    return uvloop.run(main)


async def end_all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel them until they have ended, however they do. Once is not enough: before Python 3.12
    `asyncio.wait_for`, by which the driver of MongoDB sends, forgets a cancellation that comes
    while it returns, and a loop that was cancelled there goes on for ever."""
    while going := [task for task in tasks if not task.done()]:
        for task in going:
            task.cancel()
        await asyncio.wait(going, timeout=_AGAIN_S)
