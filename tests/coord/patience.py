"""Waiting for what etcd and other processes do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from khala.coordination.etcd_rpc import EtcdRpc
from khala.model.errors import KhalaError

#: Far longer than anything here takes; a machine may be busy.
PATIENCE_S = 20.0
#: Deadline of a call that is expected to succeed.
CALL_S = 5.0


async def until(condition: Callable[[], bool], *, within_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def readable(client: EtcdRpc) -> None:
    """Until etcd answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await client.list_prefix("/", CALL_S)
            except KhalaError:
                await asyncio.sleep(0.05)
            else:
                return
