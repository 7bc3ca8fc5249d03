"""The driver's connections, as they are when a network breaks."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import pytest
from pymongo import pool_shared
from pymongo.asynchronous import pool, topology
from pymongo.lock import _async_create_condition, _async_create_lock
from pymongo.network_layer import AsyncNetworkingInterface

from khala.store import client as store_client


class Mute:
    """A transport that never says that its connection is over."""

    def set_write_buffer_limits(self, *_: int) -> None: ...
    def resume_reading(self) -> None: ...
    def write(self, _: bytes) -> None: ...
    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False


async def test_nobody_waits_for_the_end_of_a_connection_that_was_closed() -> None:
    protocol = vars(pool_shared)["PyMongoProtocol"](timeout=None)
    assert type(protocol).__module__ == store_client.__name__, "the driver was not told"
    mute: Any = Mute()
    protocol.connection_made(mute)
    reader = asyncio.ensure_future(protocol.read(None, 1 << 20))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await AsyncNetworkingInterface((mute, protocol)).close()
        with pytest.raises(OSError, match="closed"):
            await reader


@pytest.mark.parametrize("module", [pool, topology])
async def test_nobody_who_is_cancelled_while_they_wait_keeps_the_lock(module: ModuleType) -> None:
    wait = vars(module)["_async_cond_wait"]
    lock = _async_create_lock()
    condition = _async_create_condition(lock)

    async def wait_for_a_connection() -> None:
        async with condition:
            await wait(condition, 60)

    waiting = asyncio.ensure_future(wait_for_a_connection())
    await asyncio.sleep(0)
    async with lock:
        # As when a deadline ends, and then the client of the request goes away.
        waiting.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not lock.locked()


async def test_a_wait_for_a_connection_ends_with_its_time() -> None:
    condition = _async_create_condition(_async_create_lock())
    async with condition:
        assert not await vars(pool)["_async_cond_wait"](condition, 0)
    assert not condition.locked()
