"""Messages on their way to one socket: what is waited for leaves at once, the rest in company.

A frame costs both ends more than what is in it: a system call, a process that wakes up. Most of
what a judicator says of a short task (it is leased, its result is recorded) is of no use before
the next message that is, and travels with that one.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

Message = TypeVar("Message")

#: How long a message that nobody waits for may wait for company. People watch tasks on their
#: way; they do not notice a tenth of a second.
GATHER_S = 0.1


class Gathering(Generic[Message]):
    """Filled by anyone, emptied by the one task that writes to the socket."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message, *, urgent: bool) -> None:
        """What is `urgent` takes everything before it along."""
        self._messages.append(message)
        if urgent:
            self._wake.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._wake.set)

    def hurry(self) -> None:
        """End the wait of `take`, with or without messages."""
        self._wake.set()

    async def take(self) -> list[Message]:
        """Everything, once something in it is due."""
        await self._wake.wait()
        self._wake.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken, self._messages = self._messages, []
        return taken
