"""Long work on a box's files, beside the event loop and never beyond the box's life."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def offload(work: Callable[[Callable[[], bool]], Result]) -> Result:
    """Run `work` in a thread and wait for its end in any case: it uses descriptors that the caller
    closes afterwards. `work` is given a function that tells whether it should stop early, which
    is so once the caller is cancelled."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        while not running.done():
            # Cancelled once more: it is still not over.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # nobody asks for it any more
        raise
