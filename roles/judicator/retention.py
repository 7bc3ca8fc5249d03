"""Ended tasks go when an operator's bounds say so, or they themselves: the leader's rounds, and
`gc` at any judicator.

A round removes a few hundred at a time and rests three times as long as each of these took, so that
a million that is due at once costs the tasks of the day a quarter of the store at most, and takes
hours if need be. Several that do it at once remove the same, once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
import structlog
from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.core.retention import Selection
from khala.model.dates import utc_now
from khala.model.errors import KhalaError, Rejected
from khala.model.retention import KEPT_S, Ended, Forgotten, Retention
from khala.net.httpd import Routes
from khala.pki.node import GATEWAY
from khala.protocol.retention import Answer, Forget
from khala.store.retention import MongoRetention
from roles.judicator.access import caller_of
from roles.judicator.answers import answer, decode
from roles.judicator.chores import Leadership
from roles.judicator.metrics import Metrics

log = structlog.get_logger()

INTERVAL_S = 15.0
#: Removed by one step.
STEP = 200
#: After a step it rests this many times as long as the step took; after a round likewise, because
#: what is kept is looked at again.
REST = 3.0
ROUND_REST = 20.0
#: How long one answer to `gc` may look and remove; it asks again while there is more.
ANSWER_S = 8.0

_decode = msgspec.msgpack.Decoder(Forget).decode


@dataclass(slots=True)
class _Round:
    """One look at what has ended."""

    selection: Selection
    rest: float
    deadline: float | None
    dry_run: bool
    #: What it goes by is in force still.
    holds: Callable[[], bool]
    #: That goes next.
    step: list[Ended] = field(default_factory=list)
    #: What was found when the last step had gone.
    gone: Forgotten = field(default_factory=Forgotten)
    #: It was over before everything was looked at.
    late: bool = False

    def is_late(self) -> bool:
        self.late = self.late or (self.deadline is not None and time.monotonic() > self.deadline)
        return self.late


class Retaining:
    def __init__(
        self, keep: Callable[[], Retention], store: MongoRetention, metrics: Metrics
    ) -> None:
        self._keep = keep
        self._store = store
        self._metrics = metrics

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/retention", self.serve)

    async def run(self, leadership: Leadership) -> None:
        """The leader's rounds, for ever."""
        while True:
            took_s = 0.0
            if leadership.term() is not None:
                started = time.monotonic()
                try:
                    await self.forget(rest=REST)
                except KhalaError as error:
                    log.warning("retention.round_failed", why=str(error))
                took_s = time.monotonic() - started
            await asyncio.sleep(max(INTERVAL_S, ROUND_REST * took_s))

    async def serve(self, request: Request) -> HTTPResponse:
        asked = decode(_decode, request.body)
        peer = caller_of(request)
        if asked.keep is not None and peer is not None and peer.role == GATEWAY:
            raise Rejected("keep: a gateway does not say what is kept, what is in force does")
        keep = asked.keep or self._keep()
        deadline = time.monotonic() + ANSWER_S
        found = await self.forget(asked.keep, deadline=deadline, dry_run=asked.dry_run)
        return answer(Answer(keep=keep, forgotten=found))

    async def forget(
        self,
        asked: Retention | None = None,
        *,
        rest: float = 0.0,
        deadline: float | None = None,
        dry_run: bool = False,
    ) -> Forgotten:
        """What is due by its own word, then one walk from the oldest on; what went, or would go.
        Unless something was `asked` for, it goes by what is in force, and ends where that changes:
        a round may take hours, and whoever wants more to be kept wants it now."""
        now = utc_now()
        keep = asked or self._keep()
        selection = await self._select(keep)
        round_ = _Round(
            selection, rest, deadline, dry_run, lambda: asked is not None or keep == self._keep()
        )
        if not dry_run:
            await self._store.forget_left()
        async for each in self._store.find_due(now):
            if round_.is_late():
                break
            await self._take(round_, each, own=True)
        await self._remove(round_, own=True)
        if keep.on and not round_.late:
            async for each in self._store.find_ended(now - timedelta(seconds=KEPT_S)):
                if not round_.selection.exceeds(each) or round_.is_late():
                    break
                if not round_.holds():
                    round_.late = True
                    break
                if not each.is_due(now):
                    await self._take(round_, each, own=False)
            await self._remove(round_, own=False)
        found = replace(round_.selection.found, more=round_.late)
        if found.tasks and not dry_run:
            log.info("retention.forgot", keep=str(keep), **msgspec.to_builtins(found))
        return found

    async def _select(self, keep: Retention) -> Selection:
        before: list[datetime] = []
        if keep.age_s is not None:
            before.append(utc_now() - timedelta(seconds=keep.age_s))
        if keep.count is not None:
            oldest = await self._store.date_of_newest(keep.count)
            before += [] if oldest is None else [oldest]
        excess = 0
        if keep.size_bytes is not None:
            excess = await self._store.stored_bytes() - keep.size_bytes
        return Selection(before=max(before, default=None), excess_bytes=excess)

    async def _take(self, round_: _Round, each: Ended, *, own: bool) -> None:
        """If nobody needs it; whatever is enough for a step goes at once."""
        whole = await self._store.measure(each) if each.job else each
        if not round_.selection.takes(whole, own=own) or round_.dry_run:
            return
        round_.step.append(whole)
        if sum(one.tasks for one in round_.step) >= STEP:
            await asyncio.sleep(round_.rest * await self._remove(round_, own=own))

    async def _remove(self, round_: _Round, *, own: bool) -> float:
        """How long it took. What was chosen by a word that is not in force any more stays."""
        step, round_.step = round_.step, []
        started = time.monotonic()
        if step and not own and not round_.holds():
            needed = round_.selection.found.needed
            round_.selection.found = replace(round_.gone, needed=needed)
            round_.late = True
            return 0.0
        if step:
            await (self._store.forget_due(step) if own else self._store.forget(step))
            self._metrics.count_forgotten(
                sum(each.tasks for each in step), sum(each.size_bytes for each in step)
            )
            round_.gone = round_.selection.found
        return time.monotonic() - started
