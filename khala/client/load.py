"""What the cluster as a whole has to do, as methods of the client."""

from __future__ import annotations

from datetime import UTC, datetime

from khala.client.documents import DocumentCalls
from khala.client.transport import parse
from khala.protocol.v2 import Autoscale, Queue, Stats


class LoadCalls(DocumentCalls):
    """A part of `AsyncKhala`."""

    async def queue(self, *, user: int | None = None, limit: int = 50) -> Queue:
        """What is next, up to 500 tasks of all users or of one, how much waits, and whose it is."""
        query = {"limit": str(limit)} | ({"user": str(user)} if user is not None else {})
        return parse(Queue, await self._ask("GET", "/api/v2/queue", query=query))

    async def stats(
        self, *, start: datetime | None = None, end: datetime | None = None, step: str = "1h"
    ) -> Stats:
        """What ended, by steps of `1m`, `5m`, `1h` or `1d`; of the last day unless told otherwise.
        A date without a zone is one of this host."""
        dates = {"from": start, "to": end}
        query = {name: at.astimezone(UTC).isoformat() for name, at in dates.items() if at}
        answer = await self._ask("GET", "/api/v2/stats", query={"step": step, **query})
        return parse(Stats, answer)

    async def autoscale(self, *, within_s: int = 60) -> Autoscale:
        """How many slots there should be for what waits to be worked off in that time."""
        answer = await self._ask("GET", f"/api/v2/autoscale?within_s={within_s}")
        return parse(Autoscale, answer)
