"""Statistics: the leader adds up what ended, every judicator answers.

After each portion the leader rests three times as long as it took, so that a day that nobody added
up, or a store of a million tasks from before there were statistics, costs the tasks of the day a
quarter of the store at most, until that is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime

import msgspec
import structlog
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import KhalaError, Rejected
from khala.model.limits import STATISTICS_STEPS
from khala.model.statistics import Tally, mean, quantile
from khala.net.httpd import Routes
from khala.protocol.statistics import Bucket, ReadStatistics, StatisticsView, Times
from khala.store.statistics import MongoStatistics, add_recent
from roles.judicator.answers import answer, decode
from roles.judicator.believed import Believed
from roles.judicator.chores import Leadership

log = structlog.get_logger()

INTERVAL_S = 15.0
REST = 3.0
#: Between two looks for what has been kept for its time.
FORGET_INTERVAL_S = 3600.0

_decode = msgspec.msgpack.Decoder(ReadStatistics).decode


class Statistics:
    def __init__(self, store: MongoStatistics) -> None:
        self._store = store
        self._recent = Believed(store.read_recent)

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/statistics", self.read)

    async def read(self, request: Request) -> HTTPResponse:
        query = decode(_decode, request.body)
        steps = (query.end - query.start).total_seconds() / max(1, query.step_s)
        if query.step_s < 1 or not 1 <= steps <= STATISTICS_STEPS:
            raise Rejected(f"step: 1 to {STATISTICS_STEPS} steps, {steps:g} given", field="step")
        recent = await self._recent.load()
        sums = await self._store.read(query, recent.upto)
        add_recent(sums, recent, query)
        return answer(
            StatisticsView(
                buckets=[_bucket(at, tally) for at, tally in sorted(sums.items())],
                complete_to=min(recent.complete_to, query.end),
            )
        )

    async def run(self, leadership: Leadership) -> None:
        """The leader's rounds, for ever."""
        next_forget_at = time.monotonic()
        while True:
            if leadership.term() is not None:
                try:
                    await self._store.roll_up(Pace(leadership).rest)
                    if time.monotonic() >= next_forget_at:
                        await self._store.forget_old()
                        next_forget_at = time.monotonic() + FORGET_INTERVAL_S
                except KhalaError as error:
                    log.warning("statistics.round_failed", why=str(error))
            await asyncio.sleep(INTERVAL_S)


class Pace:
    """Of one round."""

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._began_at = time.monotonic()

    async def rest(self) -> bool:
        """As long as this process leads, another portion."""
        await asyncio.sleep(REST * (time.monotonic() - self._began_at))
        self._began_at = time.monotonic()
        return self._leadership.term() is not None


def _bucket(at: datetime, tally: Tally) -> Bucket:
    return Bucket(
        at=at,
        ended=dict(tally.ended),
        verdicts=dict(tally.verdicts),
        wait_s=_times(tally.wait),
        run_s=_times(tally.run),
        cpu_ms=tally.cpu_ms,
        retries=tally.retries,
        losses=tally.losses,
    )


def _times(buckets: Mapping[int, int]) -> Times:
    return Times(p50=quantile(buckets, 0.5), p95=quantile(buckets, 0.95), mean=mean(buckets))
