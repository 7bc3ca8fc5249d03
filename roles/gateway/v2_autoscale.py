"""`GET /api/v2/autoscale`: how many slots would do for what waits."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.dates import utc_now
from khala.model.executor import SessionState
from khala.model.statistics import HOURS, floor
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.queue import QueueLine, QueueLines
from khala.protocol.statistics import ReadStatistics, StatisticsView
from roles.gateway.blocking import STATIC, blocks_of
from roles.gateway.cluster import Cluster, ExecutorSeen, Seen
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.queries import read_query
from roles.gateway.spec_order import view_amounts, view_placement


class AutoscaleQuery(Struct, frozen=True, kw_only=True):
    #: What waits should be worked off in so many seconds.
    within_s: Annotated[int, Meta(ge=1, le=86_400)] = 60


class AutoscaleRoutes(Struct, frozen=True, kw_only=True):
    """The handler, and what it answers from."""

    client: JudicatorClient
    cluster: Cluster

    @declare(
        Operation(
            method="GET",
            path="/api/v2/autoscale",
            tag="Cluster",
            query=AutoscaleQuery,
            answers={200: Answer(v2.Autoscale)},
        )
    )
    async def get_autoscale(self, request: Request) -> HTTPResponse:
        """Suggest how many slots there should be for what runs and waits, for programs that start
        and stop machines."""
        query = read_query(request, AutoscaleQuery)
        lines, seen = await self.client.find_lines(), await self.cluster.view()
        ended = await self.client.read_statistics(lately(utc_now()))
        headers = {**NOSNIFF, "Cache-Control": "no-store"}
        body = v2.encode(suggest(lines, seen, run_s_of(ended), query.within_s))
        return HTTPResponse(body, headers=headers, content_type=JSON)


def lately(now: datetime) -> ReadStatistics:
    """This hour, and the one before."""
    start = floor(now, HOURS.step_s) - timedelta(seconds=HOURS.step_s)
    step_s = 2 * HOURS.step_s
    return ReadStatistics(start=start, end=start + timedelta(seconds=step_s), step_s=HOURS.step_s)


def run_s_of(ended: StatisticsView) -> float | None:
    """Of a task that ended in these steps."""
    ran = [
        (sum(each.ended.values()), each.run_s.mean)
        for each in ended.buckets
        if each.run_s.mean is not None
    ]
    count = sum(n for n, _ in ran)
    return sum(n * mean_s for n, mean_s in ran) / count if count else None


def suggest(lines: QueueLines, seen: Seen, run_s: float | None, within_s: int) -> v2.Autoscale:
    working = [each for each in seen.executors if _takes_work(each)]
    shown = [_line(line, working, run_s, within_s) for line in lines.lines]
    queued = sum(line.queued for line in shown)
    desired = seen.leased + sum(line.desired_slots for line in shown)
    takes = "of an unknown length" if run_s is None else f"of {run_s:.3g} s each"
    waits = f" and {queued} wait, {takes}: so many work them off within {within_s} s" * bool(queued)
    return v2.Autoscale(
        desired_slots=desired,
        slots=sum(each.record.slots for each in working),
        running=seen.leased,
        queued=queued,
        run_s=None if run_s is None else float(f"{run_s:.3g}"),
        within_s=within_s,
        lines=shown,
        more=lines.more,
        why=f"{desired} slots: {seen.leased} tasks run{waits}",
    )


def _line(
    line: QueueLine, working: list[ExecutorSeen], run_s: float | None, within_s: int
) -> v2.ScaleLine:
    spec = line.first.spec
    able = [each for each in working if not {code for code, _ in blocks_of(spec, each)} & STATIC]
    return v2.ScaleLine(
        queued=line.queued,
        queued_is_exact=line.exact,
        desired_slots=slots_for(line.queued, run_s, within_s),
        image=spec.image,
        network=spec.network,
        needs=view_amounts(spec.wants.amounts),
        placement=view_placement(spec.wants),
        executors=len(able),
        slots=sum(each.record.slots for each in able),
        next_task=line.first.id,
    )


def slots_for(queued: int, run_s: float | None, within_s: int) -> int:
    """No more than one for each task, and one if there is any."""
    if run_s is None:
        return queued
    return min(queued, max(1, math.ceil(queued * run_s / within_s)))


def _takes_work(executor: ExecutorSeen) -> bool:
    return executor.record.state is SessionState.ONLINE and executor.record.cordon is None
