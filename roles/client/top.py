"""`top`: the numbers of `/metrics` and of the nodes on one screen, again every few seconds.

Rates and latencies are of the time between two looks; the first screen shows them since the
processes started. What a judicator that died had counted is missing, so a rate is never negative.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import click
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from khala.client import AsyncKhala
from khala.protocol.v2 import Nodes
from roles.client.tables import CLEAR, Form, plain, show_structs, size

_BAR = 20
_NO_VALUE = "-"


class Quantiles(Struct, frozen=True, kw_only=True):
    """Seconds: the bounds of the buckets that hold them, so never too small. None: nothing yet, or
    beyond the last bucket."""

    p50_s: float | None
    p99_s: float | None


class ExecutorLoad(Struct, frozen=True, kw_only=True):
    name: str
    state: str
    slots: int
    busy: int


class Load(Struct, frozen=True, kw_only=True):
    """What one screen shows, and `-o json` prints."""

    queued: int
    #: Wait for more than an executor.
    held: int
    leased: int
    oldest_queued_s: float
    #: Results, lost attempts, accepted tasks and cases a second; None at the first look.
    ended_per_s: float | None
    lost_per_s: float | None
    accepted_per_s: float | None
    cases_per_s: float | None
    wait: Quantiles
    run: Quantiles
    commit: Quantiles
    #: Answers of the gateway that is asked.
    http_per_s: float | None
    http: Quantiles
    #: Of what programs write while they run.
    live_bytes_per_s: float | None
    live_delay: Quantiles
    #: Who reads events and logs there.
    readers: int
    #: Of the compile stages, how many a cache had; None without any.
    cache_share: float | None
    cache_bytes: int
    commit_waiting: int
    judicators_serving: int
    judicators: int
    executors: tuple[ExecutorLoad, ...]


class Samples:
    """One scrape, added up over labels."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("khala_")
        ]

    def total(self, name: str, **labels: str) -> float:
        return sum(self._values(name, labels))

    def greatest(self, name: str, **labels: str) -> float:
        """Of a number that every judicator gives of the whole cluster."""
        return max(self._values(name, labels), default=0.0)

    def buckets(self, name: str) -> dict[float, float]:
        """Cumulative counts by upper bound."""
        found: dict[float, float] = {}
        for sample in self._samples:
            if sample.name == f"{name}_bucket":
                bound = float(sample.labels["le"])
                found[bound] = found.get(bound, 0.0) + sample.value
        return found

    def _values(self, name: str, labels: Mapping[str, str]) -> Iterable[float]:
        return (
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


async def show(
    khala: AsyncKhala, form: Form, *, interval_s: float, looks: int | None, screen: bool
) -> int:
    """Show the load `looks` times, for ever without; `screen` clears a terminal before each."""
    before: Samples | None = None
    look = 0
    while looks is None or look < looks:
        if look:
            await asyncio.sleep(interval_s)
        text, nodes = await asyncio.gather(khala.metrics(), khala.nodes())
        now = Samples(text)
        load = load_of(now, nodes, before, interval_s)
        if form is Form.TABLE:
            click.echo((CLEAR if screen else "") + "\n".join(screen_of(load)))
        else:
            show_structs([load], form)
        before, look = now, look + 1
    return 0


def load_of(now: Samples, nodes: Nodes, before: Samples | None, interval_s: float) -> Load:
    def rate(name: str, **labels: str) -> float | None:
        if before is None:
            return None
        return max(0.0, now.total(name, **labels) - before.total(name, **labels)) / interval_s

    def quantiles(name: str) -> Quantiles:
        return quantiles_of(now.buckets(name), before.buckets(name) if before else {})

    return Load(
        queued=int(now.greatest("khala_tasks", state="queued")),
        held=int(now.greatest("khala_tasks", state="held")),
        leased=int(now.greatest("khala_tasks", state="leased")),
        oldest_queued_s=now.greatest("khala_queue_oldest_seconds"),
        ended_per_s=rate("khala_attempts_total"),
        lost_per_s=rate("khala_attempts_returned_total", cause="lost"),
        accepted_per_s=rate("khala_tasks_accepted_total", replay="false"),
        cases_per_s=rate("khala_cases_total"),
        wait=quantiles("khala_task_wait_seconds"),
        run=quantiles("khala_task_run_seconds"),
        commit=quantiles("khala_commit_seconds"),
        http_per_s=rate("khala_http_requests_total"),
        http=quantiles("khala_http_request_seconds"),
        live_bytes_per_s=rate("khala_live_output_bytes_total"),
        live_delay=quantiles("khala_live_output_delay_seconds"),
        readers=int(now.total("khala_event_streams") + now.total("khala_log_followers")),
        cache_share=_cache_share(now, before),
        cache_bytes=int(now.total("khala_compile_cache_bytes")),
        commit_waiting=int(now.total("khala_commit_waiting_items")),
        judicators_serving=sum(node.serving for node in nodes.judicators),
        judicators=len(nodes.judicators),
        executors=tuple(
            ExecutorLoad(
                name=node.name, state=str(node.state), slots=node.slots, busy=node.slots - node.free
            )
            for node in nodes.executors
        ),
    )


def _cache_share(now: Samples, before: Samples | None) -> float | None:
    """An executor that began again counts from zero."""

    def grown(**labels: str) -> float:
        name = "khala_compile_cache_lookups_total"
        return max(0.0, now.total(name, **labels) - (before.total(name, **labels) if before else 0))

    asked = grown()
    return min(1.0, grown(found="true") / asked) if asked else None


def quantiles_of(now: Mapping[float, float], before: Mapping[float, float]) -> Quantiles:
    """Of what was counted between the two. A process that began again counts from zero."""
    grown = {bound: max(0.0, count - before.get(bound, 0.0)) for bound, count in now.items()}
    bounds = sorted(grown)

    def at(share: float) -> float | None:
        total = grown[bounds[-1]] if bounds else 0.0
        reached = next((bound for bound in bounds if grown[bound] >= share * total), None)
        return None if not total or reached in (None, float("inf")) else reached

    return Quantiles(p50_s=at(0.5), p99_s=at(0.99))


def screen_of(load: Load) -> list[str]:
    slots = sum(each.slots for each in load.executors)
    busy = sum(each.busy for each in load.executors)
    waits = _seconds(load.oldest_queued_s)
    latencies = f"wait {_both(load.wait)}, run {_both(load.run)}, commit {_both(load.commit)}"
    cached = _NO_VALUE if load.cache_share is None else f"{load.cache_share:.0%}"
    live_bytes = _NO_VALUE if load.live_bytes_per_s is None else size(int(load.live_bytes_per_s))
    rows = {
        "tasks": f"{load.queued} queued, {load.held} held, {load.leased} running;"
        f" the oldest waits {waits}",
        "per second": f"{_rate(load.accepted_per_s)} accepted, {_rate(load.ended_per_s)} ended,"
        f" {_rate(load.lost_per_s)} lost; {_rate(load.cases_per_s)} cases",
        "latency": f"{latencies} (half below, 99 % below)",
        "gateway": f"{_rate(load.http_per_s)} answers a second, {_both(load.http)};"
        f" {load.readers} read events or logs",
        "live output": f"{live_bytes} a second, stored after {_both(load.live_delay)}",
        "compiled": f"{cached} found in a cache, of {size(load.cache_bytes)}",
        "judicators": f"{load.judicators_serving} of {load.judicators} serve;"
        f" {load.commit_waiting} writes wait",
        "slots": f"{_bar(busy, slots)} {busy}/{slots}",
    }
    head = [f"{name:<13}{text}" for name, text in rows.items()]
    return head + _executor_lines(load.executors)


def _executor_lines(executors: Sequence[ExecutorLoad]) -> list[str]:
    if not executors:
        return ["", "no executor is known; start one with `khala.pex executor`"]
    width = max(len("EXECUTOR"), *(len(plain(each.name)) for each in executors))
    lines = ["", f"{'EXECUTOR':<{width}}  {'STATE':<12}  BUSY"]
    for each in executors:
        name = plain(each.name).ljust(width)
        bar = _bar(each.busy, each.slots)
        lines.append(f"{name}  {each.state:<12}  {bar} {each.busy}/{each.slots}")
    return lines


def _bar(part: int, whole: int) -> str:
    filled = 0 if whole == 0 else round(_BAR * min(part, whole) / whole)
    return "[" + "#" * filled + "." * (_BAR - filled) + "]"


def _rate(value: float | None) -> str:
    return _NO_VALUE if value is None else f"{value:.1f}"


def _both(quantiles: Quantiles) -> str:
    return f"{_seconds(quantiles.p50_s)}/{_seconds(quantiles.p99_s)}"


def _seconds(value: float | None) -> str:
    if value is None:
        return _NO_VALUE
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
