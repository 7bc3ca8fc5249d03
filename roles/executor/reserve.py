"""Room on the executor's disk, promised before it is written.

All slots may write entries of the compile cache and artifacts at the same time. If each looked at
the free space by itself, together they could fill the disk that every one of them had found large
enough; and attempts that had ended well would run once more elsewhere.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path


class Reserve:
    """What those who write now may still write, on the disk of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._promised = 0
        self._kept = asyncio.Event()

    def has(self, size_bytes: int) -> bool:
        """Beyond all promises. What was written of them already counts twice, until they end."""
        return shutil.disk_usage(self._folder).free - self._promised >= size_bytes

    @contextmanager
    def promised(self, size_bytes: int) -> Iterator[None]:
        """While it is being written."""
        self._promised += size_bytes
        try:
            yield
        finally:
            self._promised -= size_bytes
            self._kept.set()

    @asynccontextmanager
    async def awaited(self, size_bytes: int) -> AsyncIterator[None]:
        """As `promised`, once there is room beside the others. Alone, nobody waits: if the disk
        turns out to be full then, waiting would not help."""
        while self._promised and not self.has(size_bytes):
            self._kept.clear()
            await self._kept.wait()
        with self.promised(size_bytes):
            yield
