"""What the cluster as a whole has to do, as methods of the client."""

from __future__ import annotations

from khala.client.documents import DocumentCalls
from khala.client.jobs import parse
from khala.protocol.v2 import Queue


class LoadCalls(DocumentCalls):
    """A part of `AsyncKhala`."""

    async def queue(self, *, user: int | None = None, limit: int = 50) -> Queue:
        """What is next, up to 500 tasks of all users or of one, how much waits, and whose it is."""
        query = {"limit": str(limit)} | ({"user": str(user)} if user is not None else {})
        return parse(Queue, await self._ask("GET", "/api/v2/queue", query=query))
