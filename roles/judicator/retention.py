"""Ended tasks go when an operator's bounds say so: the leader's rounds, and `gc` at any judicator.

A round removes a few hundred at a time and rests three times as long as each of these took, so that
a million that is due at once costs the tasks of the day a quarter of the store at most, and takes
hours if need be. Several that do it at once remove the same, once.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

import msgspec
import structlog
from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.core.retention import Selection
from khala.model.dates import utc_now
from khala.model.errors import KhalaError, NotPossible, Rejected
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


class Retaining:
    def __init__(self, keep: Retention, store: MongoRetention, metrics: Metrics) -> None:
        self.keep = keep
        self._store = store
        self._metrics = metrics

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/retention", self.serve)

    async def run(self, leadership: Leadership) -> None:
        """The leader's rounds, for ever."""
        while True:
            took_s = 0.0
            if self.keep.on and leadership.term() is not None:
                started = time.monotonic()
                try:
                    await self.forget(self.keep, rest=REST)
                except KhalaError as error:
                    log.warning("retention.round_failed", why=str(error))
                took_s = time.monotonic() - started
            await asyncio.sleep(max(INTERVAL_S, ROUND_REST * took_s))

    async def serve(self, request: Request) -> HTTPResponse:
        asked = decode(_decode, request.body)
        peer = caller_of(request)
        if asked.keep is not None and peer is not None and peer.role == GATEWAY:
            raise Rejected("keep: a gateway does not say what is kept, the judicators' settings do")
        keep = asked.keep or self.keep
        if not keep.on:
            raise NotPossible(
                "this judicator keeps all tasks; say what is to be kept: --retention-age 30d,"
                " --retention-count or --retention-bytes",
                field="--retention-age",
            )
        deadline = time.monotonic() + ANSWER_S
        found = await self.forget(keep, deadline=deadline, dry_run=asked.dry_run)
        return answer(Answer(keep=keep, forgotten=found))

    async def forget(
        self,
        keep: Retention,
        *,
        rest: float = 0.0,
        deadline: float | None = None,
        dry_run: bool = False,
    ) -> Forgotten:
        """One walk from the oldest on; what went, or would go."""
        selection = await self._select(keep)
        step: list[Ended] = []
        more = False
        async for each in self._store.find_ended(utc_now() - timedelta(seconds=KEPT_S)):
            if not selection.exceeds(each):
                break
            if deadline is not None and time.monotonic() > deadline:
                more = True
                break
            whole = await self._store.measure(each) if each.job else each
            if not selection.takes(whole) or dry_run:
                continue
            step.append(whole)
            if sum(one.tasks for one in step) >= STEP:
                await asyncio.sleep(rest * await self._remove(step))
                step = []
        if step:
            await self._remove(step)
        found = replace(selection.found, more=more)
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

    async def _remove(self, step: list[Ended]) -> float:
        """How long it took."""
        started = time.monotonic()
        await self._store.forget(step)
        self._metrics.count_forgotten(
            sum(each.tasks for each in step), sum(each.size_bytes for each in step)
        )
        return time.monotonic() - started
