"""`GET /api/v2/stats`: what ended, by time."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.dates import utc_now
from khala.model.errors import Rejected
from khala.model.limits import STATISTICS_STEPS
from khala.model.outcome import Ending
from khala.model.statistics import floor, level_of
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.statistics import Bucket, ReadStatistics, Times
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.queries import read_query

_DEFAULT_SPAN = timedelta(days=1)


class Step(StrEnum):
    """The length of a step."""

    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def seconds(self) -> int:
        return {"1m": 60, "5m": 300, "1h": 3600, "1d": 86_400}[self.value]


class StatsQuery(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    #: The first step is the one that it is in; a day before `to` unless given.
    from_: datetime | None = None
    #: The last step is the one that it is in; now unless given.
    to: datetime | None = None
    step: Step = Step.HOUR


class StatsRoutes(Struct, frozen=True, kw_only=True):
    """The handler, and what it answers from."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path="/api/v2/stats",
            tag="Cluster",
            query=StatsQuery,
            answers={200: Answer(v2.Stats)},
        )
    )
    async def get_stats(self, request: Request) -> HTTPResponse:
        """Add up what ended, step by step. It stays known when the tasks are gone."""
        asked = steps_of(read_query(request, StatsQuery), utc_now())
        seen = await self.client.read_statistics(asked)
        found = {bucket.at: bucket for bucket in seen.buckets}
        count = round((asked.end - asked.start).total_seconds() / asked.step_s)
        starts = (asked.start + n * timedelta(seconds=asked.step_s) for n in range(count))
        view = v2.Stats(
            from_=v2.stamp(asked.start),
            to=v2.stamp(asked.end),
            step_s=asked.step_s,
            buckets=[_view(found.get(at) or Bucket(at=at)) for at in starts],
            complete_to=v2.stamp(seen.complete_to),
        )
        headers = {**NOSNIFF, "Cache-Control": "no-store"}
        return HTTPResponse(v2.encode(view), headers=headers, content_type=JSON)


def steps_of(query: StatsQuery, now: datetime) -> ReadStatistics:
    """Whole steps. Raise `Rejected` for what is too much, or no longer kept."""
    step_s = query.step.seconds
    last = now if query.to is None else query.to
    try:
        first = last - _DEFAULT_SPAN if query.from_ is None else query.from_
        start = floor(first, step_s)
        end = floor(last - timedelta(milliseconds=1), step_s) + timedelta(seconds=step_s)
    except (OverflowError, ValueError):
        raise Rejected("to: a date that has a day around it is needed", field="to") from None
    if last <= first:
        raise Rejected(
            f"from: {first.isoformat()} is not before to, {last.isoformat()}", field="from"
        )
    count = (end - start) // timedelta(seconds=step_s)
    if count > STATISTICS_STEPS:
        raise Rejected(
            f"step: an answer has {STATISTICS_STEPS} steps at the most, from and to are"
            f" {count} of {query.step} apart; ask for a longer step or less time",
            field="step",
        )
    kept = level_of(step_s).kept
    if start < now - kept - timedelta(seconds=step_s):
        longer = "; step=1d goes back 500 days" if query.step is not Step.DAY else ""
        raise Rejected(
            f"from: by {query.step} the last {kept.days} days are kept,"
            f" {first.isoformat()} is before{longer}",
            field="from",
        )
    return ReadStatistics(start=start, end=end, step_s=step_s)


def _view(bucket: Bucket) -> v2.StatsBucket:
    return v2.StatsBucket(
        at=v2.stamp(bucket.at),
        ended=v2.EndedCounts(**{name: bucket.ended.get(name, 0) for name in Ending}),
        verdicts=bucket.verdicts,
        wait_s=_percentiles(bucket.wait_s),
        run_s=_percentiles(bucket.run_s),
        cpu_s=bucket.cpu_ms / 1000,
        retries=bucket.retries,
        losses=bucket.losses,
    )


def _percentiles(found: Times) -> v2.Percentiles:
    return v2.Percentiles(p50=_rounded(found.p50), p95=_rounded(found.p95))


def _rounded(seconds: float | None) -> float | None:
    """Three digits: there is no more in it."""
    return None if seconds is None else float(f"{seconds:.3g}")
