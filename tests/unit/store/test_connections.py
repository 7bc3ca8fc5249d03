"""The driver's connections, as they are when a network breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pymongo import pool_shared
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
