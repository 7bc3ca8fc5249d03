"""`stats`: what ended, step by step, with a bar for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import click

from khala.client import AsyncKhala
from khala.model.errors import Rejected
from khala.protocol.v2 import EndedCounts, Percentiles, StatsBucket
from roles.client import tables
from roles.client.tables import Form

_BAR = 30
_HEAD = ["FROM", "ENDED", "SUCCEEDED", "WAIT", "RUN", "CPU", "RETRIES", "LOSSES", ""]
_DAY_S = 86_400


async def show_stats(khala: AsyncKhala, form: Form, *, since_s: float, step: str) -> int:
    if form is Form.NAME:
        raise Rejected("-o name: steps have no names; leave it out, or take -o json", field="-o")
    start = datetime.now(UTC) - timedelta(seconds=since_s)
    found = await khala.stats(start=start, step=step)
    if form in tables.DOCUMENTS:
        tables.show_structs([found], form)
        return 0
    most = max((_total(each.ended) for each in found.buckets), default=0)
    tables.show_table(_HEAD, [_cells(each, found.step_s, most) for each in found.buckets])
    for line in _summary(found.buckets):
        click.echo(line)
    if found.complete_to < min(found.to, datetime.now(UTC)) - timedelta(seconds=found.step_s):
        click.echo(f"khala: complete to {tables.date(found.complete_to)}; more is coming", err=True)
    return 0


def _cells(bucket: StatsBucket, step_s: int, most: int) -> list[str]:
    ended = bucket.ended
    at = tables.date(bucket.at)
    return [
        at.partition("T")[0] if step_s == _DAY_S else at,
        str(_total(ended)),
        str(ended.succeeded),
        _times(bucket.wait_s),
        _times(bucket.run_s),
        f"{bucket.cpu_s:.1f} s",
        str(bucket.retries),
        str(bucket.losses),
        _bar(ended, most),
    ]


def _bar(ended: EndedCounts, most: int) -> str:
    """As long as its share of the longest; what did not succeed is at its end."""
    total = _total(ended)
    if not total:
        return ""
    whole = max(1, round(_BAR * total / most))
    good = round(whole * ended.succeeded / total)
    if ended.succeeded < total:
        good = min(good, whole - 1)
    return "#" * good + "x" * (whole - good)


def _times(found: Percentiles) -> str:
    if found.p50 is None or found.p95 is None:
        return "-"
    return f"{_seconds(found.p50)}/{_seconds(found.p95)}"


def _seconds(value: float) -> str:
    return f"{value:.3g}s" if value < 60 else tables.span(value)


def _summary(buckets: Sequence[StatsBucket]) -> Iterator[str]:
    counts = [
        (name, sum(getattr(each.ended, name) for each in buckets))
        for name in EndedCounts.__struct_fields__
    ]
    total = sum(count for _, count in counts)
    parts = ", ".join(f"{count} {name}" for name, count in counts if count)
    yield f"{total} ended" + (f": {parts}" if parts else "")
    verdicts: dict[str, int] = {}
    for each in buckets:
        for verdict, count in each.verdicts.items():
            verdicts[verdict] = verdicts.get(verdict, 0) + count
    if verdicts:
        yield "verdicts: " + ", ".join(
            f"{count} {name}" for name, count in sorted(verdicts.items())
        )


def _total(ended: EndedCounts) -> int:
    return ended.succeeded + ended.failed + ended.cancelled + ended.error
