"""Quotas at the door: what is refused, what is accepted as held, and what is used of them.

What is counted is counted in the store, so a judicator that starts, or another one that leads,
knows as much as the one before. A count is believed for a moment, and what is accepted here since
is added to it; what other judicators accept in that moment is not, so that bounds of waiting tasks
and of stored bytes can be exceeded by as much.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from sanic import Request
from sanic.response import HTTPResponse

from khala.core.dispatch import Dispatcher
from khala.core.quotas import QuotaLifting
from khala.model.depends import hold_of
from khala.model.errors import KhalaError, QuotaExceeded
from khala.model.holds import Hold, held_by
from khala.model.limits import MIB, QUOTA_USERS
from khala.model.quota import QUOTA, Usage
from khala.model.spec import TaskSpec
from khala.model.task import TaskBrief, TaskState
from khala.net.httpd import Routes
from khala.protocol.quota import QuotaView
from khala.store.quotas import MongoQuotas
from roles.judicator.answers import answer
from roles.judicator.quotas_in_force import QuotasInForce

#: A count is believed for this long, or for twenty times as long as it took.
COUNT_AGE_S = 1.0
SIZE_AGE_S = 10.0
SHARE = 20.0
#: A count waits so long at the most for what is being stored, which would be in it or not.
STORING_S = 1.0

Count = Callable[[int], Awaitable[int]]
#: Told of each refusal: by which quota.
Refused = Callable[[str], None]


@dataclass(slots=True)
class _Count:
    """What the store said of one user; one question at a time."""

    value: int = 0
    at: float = 0.0
    until: float = 0.0
    #: Accepted here since.
    added: int = 0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Admitted, and not known to be stored; and that there are none.
    storing: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def adding(self, count: int) -> Iterator[None]:
        """Around the storing of so many."""
        self.storing += 1
        self.quiet.clear()
        try:
            yield
            self.added += count
        finally:
            self.storing -= 1
            if not self.storing:
                self.quiet.set()

    async def settle(self) -> None:
        """Nothing more is admitted while `asking` is held, so this ends with what is under way."""
        if self.storing:
            with suppress(TimeoutError):
                async with asyncio.timeout(STORING_S):
                    await self.quiet.wait()


@dataclass(slots=True)
class _Counts:
    """Of one kind, by user."""

    ask: Count
    age_s: float
    _known: dict[int, _Count] = field(default_factory=dict)

    def of(self, user: int) -> _Count:
        known = self._known.pop(user, None) or _Count()
        self._known[user] = known
        if len(self._known) > QUOTA_USERS:
            del self._known[next(iter(self._known))]
        return known

    async def load(self, user: int, *, anew: bool = False) -> _Count:
        """As it was a moment ago; `anew`: without what was added by guess."""
        known = self.of(user)
        async with known.asking:
            if time.monotonic() < known.until and not (anew and known.added):
                return known
            await known.settle()
            began_at = time.monotonic()
            known.added = 0
            known.value = await self.ask(user)
            known.at = time.monotonic()
            known.until = known.at + max(self.age_s, SHARE * (known.at - began_at))
        return known


class Admission:
    """What submissions ask, and what tells the lifting that there may be room."""

    def __init__(
        self, in_force: QuotasInForce, store: MongoQuotas, dispatcher: Dispatcher, refused: Refused
    ) -> None:
        self.in_force = in_force
        self._store = store
        self._dispatcher = dispatcher
        self._refused = refused
        self.lifting = QuotaLifting(store, dispatcher, lambda: in_force.now)
        self._queued = _Counts(store.count_queued, COUNT_AGE_S)
        self._sizes = _Counts(store.stored_bytes, SIZE_AGE_S)
        #: Tasks that are being accepted.
        self._under_way: Counter[int] = Counter()

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/quota/<user:int>", self.show)

    # ---- the door ---------------------------------------------------------------------------

    @asynccontextmanager
    async def admitted(self, user: int, count: int, key: str | None) -> AsyncIterator[None]:
        """Around the acceptance of so many tasks. Raise `QuotaExceeded`."""
        quota = self.in_force.of(user)
        if quota.queued is None and quota.size_bytes is None:
            yield
            return
        self._under_way[user] += count
        try:
            try:
                if quota.queued is not None:
                    await self._check_queued(user, count, quota.queued)
                if quota.size_bytes is not None:
                    await self._check_size(user, quota.size_bytes)
            except QuotaExceeded:
                if key is None or not await self._store.knows(user, key):
                    raise
            with self._queued.of(user).adding(count):
                yield
        finally:
            self._under_way[user] -= count
            if not self._under_way[user]:
                del self._under_way[user]

    async def _check_queued(self, user: int, count: int, limit: int) -> None:
        for anew in (False, True):
            known = await self._queued.load(user, anew=anew)
            waiting = known.value + known.added + self._under_way[user] - count
            if waiting + count <= limit:
                return
        self._refused("queued")
        raise QuotaExceeded(
            f"user {user} may have {limit} tasks waiting: {waiting} wait, and this would add"
            f" {count}; wait until some have begun, cancel some, or have an administrator raise it:"
            f" khala.pex quota set {user} --queued N (or --quota-queued of every judicator)",
            field="user",
        )

    async def _check_size(self, user: int, limit: int) -> None:
        known = await self._size_of(user)
        if known.value < limit:
            return
        self._refused("stored_bytes")
        age_s = time.monotonic() - known.at
        raise QuotaExceeded(
            f"user {user} may have {limit / MIB:.1f} MiB stored: {known.value / MIB:.1f} MiB were,"
            f" {age_s:.0f} seconds ago; remove ended tasks with DELETE /api/v2/tasks/ID, or have an"
            f" administrator raise it: khala.pex quota set {user} --bytes N (or --quota-bytes of"
            " every judicator)",
            field="user",
        )

    async def _size_of(self, user: int) -> _Count:
        """What is known stands until it is known anew: measuring many tasks takes seconds."""
        known = self._sizes.of(user)
        if not known.at:
            return await self._sizes.load(user)
        if known.until <= time.monotonic() and not known.asking.locked():
            self._dispatcher.comm.spawn(self._measure(user))
        return known

    async def _measure(self, user: int) -> None:
        with suppress(KhalaError):
            await self._sizes.load(user)

    # ---- what may run -----------------------------------------------------------------------

    def hold(self, spec: TaskSpec) -> Hold | None:
        """What a new task is accepted with."""
        hold = hold_of(spec.depends_on)
        return held_by(hold, QUOTA) if self.in_force.of(spec.user).holds else hold

    def on_changed(self, brief: TaskBrief) -> None:
        """One that was accepted may be let go, one that ended has made room."""
        moved = brief.done or brief.state is TaskState.QUEUED
        if moved and self.in_force.of(brief.user).holds:
            self.lifting.hurry(brief.user)

    async def run(self) -> None:
        """Look around, for ever: also where there are no quotas, for what earlier ones hold."""
        revision = self.in_force.revision
        while True:
            if revision != self.in_force.revision:
                revision = self.in_force.revision
                self.lifting.look_again()
            self.lifting.on_tick()
            await asyncio.sleep(1.0)

    # ---- what is used -----------------------------------------------------------------------

    async def show(self, _: Request, user: int) -> HTTPResponse:
        return answer(await self.view(user))

    async def view(self, user: int) -> QuotaView:
        quota = self.in_force.of(user)
        queued = running = cpu_s = size = None
        if quota.queued is not None:
            known = await self._queued.load(user, anew=True)
            queued = known.value + known.added
        if quota.running is not None:
            running = await self._store.count_running(user)
        if quota.cpu_s is not None:
            cpu_s = await self._store.cpu_s_today(user)
        if quota.size_bytes is not None:
            size = (await self._size_of(user)).value
        used = Usage(queued=queued, running=running, cpu_s=cpu_s, size_bytes=size)
        return QuotaView(user=user, limits=quota, used=used)
