"""An answer of the store that is dear and may be a little old: many who ask cost what one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

#: It is believed for this long, or for twenty times as long as it took.
AGE_S = 1.0
SHARE = 20.0


class Believed(Generic[Answer]):
    def __init__(self, ask: Callable[[], Awaitable[Answer]]) -> None:
        self._ask = ask
        self._known: Answer | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def load(self) -> Answer:
        """One question at a time; who waits for it takes its answer."""
        async with self._asking:
            began_at = time.monotonic()
            if self._known is None or self._until < began_at:
                self._known = await self._ask()
                now = time.monotonic()
                self._until = now + max(AGE_S, SHARE * (now - began_at))
            return self._known
