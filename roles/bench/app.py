"""Runs the measurements one after another and prints them as a table or as JSON.

Only the ratios mean something across machines: every figure of a run was taken on the same host,
minutes apart at the most, with the same sandbox profile.
"""

from __future__ import annotations

import os
import platform
import sys

import msgspec
from msgspec import Struct

from khala.net.loop import run as run_loop
from khala.version import VERSION
from roles.bench import bare, control_plane, end_to_end, first_byte
from roles.bench.costs import Costs
from roles.bench.end_to_end import EndToEnd
from roles.bench.first_byte import FirstByte
from roles.bench.stats import Latency

#: Turns of bare jail and whole.
ROUNDS = 6


class Options(Struct, frozen=True, kw_only=True):
    """How long to measure; `quick` is for trying the command, not for numbers."""

    json: bool = False
    quick: bool = False
    slots: int


class Ratios(Struct, frozen=True, kw_only=True):
    #: Tasks through HTTP per second over bare jails per second, both with every slot busy.
    throughput: float
    #: Submit-to-done minus one bare jail, medians.
    latency_p50_ms_over_bare: float
    latency_p95_ms_over_bare: float
    #: Of (b) over the same without jails made ahead, median and throughput.
    warm_latency_p50: float
    warm_throughput: float
    #: From a byte's being written until it is seen, minus the same through a pipe: of a program's
    #: first line.
    first_byte_p50_ms_over_pipe: float
    first_byte_p95_ms_over_pipe: float


class Machine(Struct, frozen=True, kw_only=True):
    cpus: int
    memory_bytes: int
    kernel: str
    python: str
    khala: str


class Report(Struct, frozen=True, kw_only=True):
    ratios: Ratios
    bare: bare.Bare
    end_to_end: EndToEnd
    #: The same with `--warm-jails 0`.
    end_to_end_cold: EndToEnd
    control_plane: control_plane.ControlPlane
    first_byte: FirstByte
    machine: Machine


def run(options: Options) -> int:
    """Measure and print; needs root, like an executor."""
    report = run_loop(_measure(options))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        print(_table(report))
    return 0


async def _measure(options: Options) -> Report:
    share = 0.15 if options.quick else 1.0
    floor, whole, cold, live = await _compare(options.slots, share)
    _say("control plane with simulated executors")
    plane = await control_plane.measure(tasks=int(6000 * share))
    return Report(
        ratios=Ratios(
            throughput=round(whole.tasks_per_s / floor.parallel_per_s, 3),
            latency_p50_ms_over_bare=round(whole.latency.p50_ms - floor.serial.p50_ms, 2),
            latency_p95_ms_over_bare=round(whole.latency.p95_ms - floor.serial.p95_ms, 2),
            warm_latency_p50=round(whole.latency.p50_ms / cold.latency.p50_ms, 3),
            warm_throughput=round(whole.tasks_per_s / cold.tasks_per_s, 3),
            first_byte_p50_ms_over_pipe=round(live.first.p50_ms - live.pipe.p50_ms, 2),
            first_byte_p95_ms_over_pipe=round(live.first.p95_ms - live.pipe.p95_ms, 2),
        ),
        bare=floor,
        end_to_end=whole,
        end_to_end_cold=cold,
        control_plane=plane,
        first_byte=live,
        machine=Machine(
            cpus=os.cpu_count() or 1,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            kernel=platform.release(),
            python=platform.python_version(),
            khala=VERSION,
        ),
    )


async def _compare(slots: int, share: float) -> tuple[bare.Bare, EndToEnd, EndToEnd, FirstByte]:
    """The bare jail, the whole, the whole without warm jails, and live output, in turns: what else
    the host does meets all alike."""
    floors: list[bare.Slice] = []
    wholes: list[end_to_end.Slice] = []
    colds: list[end_to_end.Slice] = []
    lives: list[first_byte.Slice] = []
    _say("starting a whole Khala, and one without warm jails")
    async with (
        end_to_end.started(slots) as warm,
        end_to_end.started(slots, "--warm-jails", "0") as cold,
    ):
        for turn in range(1, ROUNDS + 1):
            _say(f"round {turn} of {ROUNDS}: bare jail, end to end, twice, live output")
            floors.append(await bare.measure(slots, runs=int(160 * share)))
            for stack, slices in ((warm, wholes), (cold, colds)):
                slices.append(
                    await end_to_end.measure(
                        stack, slots, duration_s=3 * share, sequential=int(40 * share)
                    )
                )
            lives.append(await first_byte.measure(warm, programs=max(1, int(4 * share))))
    return (
        bare.combine(slots, floors),
        end_to_end.combine(slots, wholes),
        end_to_end.combine(slots, colds),
        first_byte.combine(lives),
    )


def _say(step: str) -> None:
    print(f"bench: {step} ...", file=sys.stderr, flush=True)


def _table(report: Report) -> str:
    floor, whole, plane = report.bare, report.end_to_end, report.control_plane
    cold = report.end_to_end_cold
    rows = [
        ("(a) bare jail, serial", f"{floor.serial_per_s:.1f}/s", _latency(floor.serial)),
        (f"(a) bare jail, {floor.parallel} in parallel", f"{floor.parallel_per_s:.1f}/s", ""),
        ("(a) warm, serial, from go", "", _latency(floor.warm)),
        (f"(a) warm, {floor.parallel} in parallel, from go", "", _latency(floor.warm_parallel)),
        (
            f"(b) end to end, {whole.clients} clients",
            f"{whole.tasks_per_s:.1f}/s",
            _latency(whole.latency),
        ),
        ("(b) with --warm-jails 0", f"{cold.tasks_per_s:.1f}/s", _latency(cold.latency)),
        ("(c) accepted", f"{plane.accepted_per_s:.0f}/s", f"{plane.tasks} tasks"),
        ("(c) leased", f"{plane.leased_per_s:.0f}/s", f"{plane.executors} simulated executors"),
        ("(c) recorded", f"{plane.recorded_per_s:.0f}/s", ""),
        ("(c) full tasks", f"{plane.full_per_s:.0f}/s", ""),
        ("(d) throughput, b / a", f"{report.ratios.throughput:.2f}", "aim: 0.6 or more"),
        (
            "(d) latency over bare, p50",
            f"{report.ratios.latency_p50_ms_over_bare:.1f} ms",
            "aim: 15 ms or less",
        ),
        ("(d) latency, warm / cold, p50", f"{report.ratios.warm_latency_p50:.2f}", ""),
        ("(d) throughput, warm / cold", f"{report.ratios.warm_throughput:.2f}", ""),
        ("(e) processor time, bare jail", f"{floor.cpu_ms_per_run:.1f} ms", "per run of (a)"),
        *_costs(whole.cpu_ms_per_task),
        ("(f) first byte, seen live", "", _latency(report.first_byte.first)),
        ("(f) later bytes, seen live", "", _latency(report.first_byte.later)),
        ("(f) the same through a pipe", "", _latency(report.first_byte.pipe)),
        (
            "(f) first byte over the pipe, p50",
            f"{report.ratios.first_byte_p50_ms_over_pipe:.1f} ms",
            "aim: 250 ms or less",
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {note}".rstrip() for name, value, note in rows
    )


def _costs(costs: Costs) -> list[tuple[str, str, str]]:
    parts = sorted(msgspec.structs.asdict(costs).items(), key=lambda part: -part[1])
    return [
        (f"(e) processor time, {name}", f"{ms:.1f} ms", "per task of (b)")
        for name, ms in [*parts, ("all", costs.total)]
    ]


def _latency(latency: Latency) -> str:
    return f"p50 {latency.p50_ms:.1f}  p95 {latency.p95_ms:.1f}  p99 {latency.p99_ms:.1f} ms"
