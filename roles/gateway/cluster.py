"""The cluster as all judicators together see it.

Each judicator knows the free slots of the executors it holds and whether it serves itself, so all
of them are asked, and what they say is put together. Answers are shared for a moment: pages and
probes that ask at once cost one question. Whoever changed a node here sees it changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import structlog
from msgspec import Struct

from khala.model.errors import KhalaError, Unavailable
from khala.model.executor import CacheCounts, ExecutorRecord, JudicatorRecord, SessionState
from khala.model.ids import JudicatorName
from khala.model.pace import LinePace, together
from khala.model.retention import Retention
from khala.model.wants import Amounts
from khala.net.client import JudicatorClient
from khala.protocol.rpc import ClusterView, ExecutorView

log = structlog.get_logger()

#: How old an answer may be.
FRESH_S = 0.5
#: A judicator that takes longer is shown as not serving.
ASK_S = 2.0
#: How often addresses are learned while nobody asks.
LEARN_INTERVAL_S = 5.0


class ExecutorSeen(Struct, frozen=True, kw_only=True):
    record: ExecutorRecord
    #: 0 while nobody knows, which is when nothing can be assigned to it either.
    free: int
    cache: CacheCounts | None = None
    left: Amounts = {}


class JudicatorSeen(Struct, frozen=True, kw_only=True):
    record: JudicatorRecord
    serving: bool
    #: Empty if it did not answer.
    version: str


class Seen(Struct, frozen=True, kw_only=True):
    executors: list[ExecutorSeen]
    judicators: list[JudicatorSeen]
    #: Those that should be there and are not.
    missing: list[JudicatorName] = []
    queued: int
    leased: int
    notes: list[str]
    keep: Retention = Retention()
    #: By shape: how fast that line moved lately.
    paces: dict[str, LinePace] = {}

    @property
    def serving(self) -> bool:
        """Some judicator accepts tasks."""
        return any(judicator.serving for judicator in self.judicators)

    @property
    def slots(self) -> int:
        return sum(seen.record.slots for seen in self._online)

    @property
    def free(self) -> int:
        return sum(seen.free for seen in self._online)

    @property
    def _online(self) -> list[ExecutorSeen]:
        return [seen for seen in self.executors if seen.record.state is SessionState.ONLINE]


class Cluster:
    """Asks the judicators and remembers what they said for `FRESH_S`."""

    def __init__(self, client: JudicatorClient) -> None:
        self._client = client
        self._asking = asyncio.Lock()
        self._seen: Seen | None = None
        self._answered_at = float("-inf")
        #: Nodes were changed by this gateway since the last question was put.
        self._outdated = False

    async def view(self) -> Seen:
        """Raise `Unavailable` if no judicator answers."""
        async with self._asking:
            if self._outdated or time.monotonic() - self._answered_at > FRESH_S:
                self._outdated = False
                self._seen = await self._ask()
                self._answered_at = time.monotonic()
            if self._seen is None:
                raise Unavailable("no judicator answers; are they running, and is --join right?")
            return self._seen

    def outdate(self) -> None:
        """Something was changed: the next who looks sees it, whatever is being answered now."""
        self._outdated = True

    async def glance(self) -> Seen:
        """What was seen last, up to `LEARN_INTERVAL_S` ago: for a hint beside an answer, which must
        not wait for a judicator that hangs. Raise `Unavailable` as `view` does."""
        return self._seen or await self.view()

    async def learn_addresses(self) -> None:
        """Keeps the address book current while nobody looks at the cluster; until cancelled."""
        while True:
            try:
                await self.view()
            except KhalaError as error:
                log.debug("cluster.unreachable", why=error.message)
            await asyncio.sleep(LEARN_INTERVAL_S)

    async def _ask(self) -> Seen | None:
        book = self._client.book
        addresses = book.addresses
        answers = await asyncio.gather(*(self._ask_one(address) for address in addresses))
        views = {
            address: view
            for address, view in zip(addresses, answers, strict=True)
            if view is not None
        }
        if not views:
            return None
        seen = _merge(views)
        book.learn(judicator.record.address for judicator in seen.judicators)
        return seen

    async def _ask_one(self, address: str) -> ClusterView | None:
        try:
            return await self._client.view_from(address, ASK_S)
        except KhalaError as error:
            log.debug("judicator.silent", judicator=address, why=error.message)
            return None


def _see(record: ExecutorRecord, owned: ExecutorView | None) -> ExecutorSeen:
    """What the store says, and what the judicator that holds its session knows."""
    if owned is None or owned.free is None:
        return ExecutorSeen(record=record, free=0)
    return ExecutorSeen(record=record, free=owned.free, cache=owned.cache, left=owned.left)


def _merge_paces(views: Iterable[ClusterView]) -> dict[str, LinePace]:
    """Each judicator gives tasks of the same lines to executors of its own."""
    found: dict[str, list[LinePace]] = {}
    for view in views:
        for pace in view.paces:
            found.setdefault(pace.shape, []).append(pace)
    return {shape: together(paces) for shape, paces in found.items()}


def _merge(views: dict[str, ClusterView]) -> Seen:
    # A judicator that serves has the store's latest word; any other is better than none.
    best = max(views.values(), key=lambda view: view.serving)
    owned: dict[str, ExecutorView] = {}
    for view in views.values():
        for executor in view.executors:
            if executor.free is not None:
                owned[executor.record.name] = executor
    judicators = []
    for record in best.judicators:
        own = views.get(record.address)
        judicators.append(
            JudicatorSeen(
                record=record,
                serving=own is not None and own.serving,
                version=own.version if own else "",
            )
        )
    return Seen(
        executors=[
            _see(executor.record, owned.get(executor.record.name))
            for executor in sorted(best.executors, key=lambda view: view.record.name)
        ],
        judicators=sorted(judicators, key=lambda seen: seen.record.name),
        missing=sorted({*best.members} - {record.name for record in best.judicators}),
        queued=best.queued,
        leased=best.leased,
        notes=best.notes,
        keep=best.keep,
        paces=_merge_paces(views.values()),
    )
