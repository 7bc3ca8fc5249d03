"""(a) The bare jail: the sandbox's profile in a plain loop, serial and with every slot busy.

Measured in a process of its own (`python -m roles.bench.bare SLOTS RUNS`), because the sandbox
moves its process into a private mount namespace.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from asyncio.subprocess import PIPE
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.model.errors import Unavailable
from khala.model.limits import MIB
from khala.model.spec import Stage, StageLimits
from khala.supervise.binaries import find_program
from roles.bench.stats import Latency, summarize
from roles.command import run_module

#: What a task of the end-to-end part is limited to by default.
_LIMITS = StageLimits(
    wall_ms=10_000,
    cpu_ms=10_000,
    memory_bytes=512 * MIB,
    pids=128,
    output_bytes=64 * MIB,
    file_bytes=256 * MIB,
)
_WARM_UP = 20


class Slice(Struct, frozen=True, kw_only=True):
    """One round: `serial_s` has the time of each jail, the parallel loop only its whole."""

    serial_s: list[float]
    parallel_s: float
    #: Of jails made before, from "go" to the end of nsjail; one after another, and all slots.
    warm_s: list[float]
    warm_parallel_s: list[float]
    cpu_ms_per_run: float


class Bare(Struct, frozen=True, kw_only=True):
    serial_per_s: float
    serial: Latency
    #: Jails at the same time in the second loop.
    parallel: int
    parallel_per_s: float
    #: From "go", of jails that were made before.
    warm: Latency
    warm_parallel: Latency
    #: Processor time of one jail, its loop included.
    cpu_ms_per_run: float


async def measure(slots: int, runs: int) -> Slice:
    """Time `runs` serial and `runs` parallel no-op jails."""
    process = await asyncio.create_subprocess_exec(
        *(*run_module("roles.bench.bare"), str(slots), str(runs)), stdout=PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise Unavailable("the bare jail could not be measured; its message is above")
    return msgspec.json.decode(printed, type=Slice)


def combine(slots: int, slices: list[Slice]) -> Bare:
    """Rounds of equal length into one figure each."""
    serial = [sample for each in slices for sample in each.serial_s]
    runs = len(serial)
    return Bare(
        serial_per_s=round(runs / sum(serial), 2),
        serial=summarize(serial),
        parallel=slots,
        parallel_per_s=round(runs / sum(each.parallel_s for each in slices), 2),
        warm=summarize([sample for each in slices for sample in each.warm_s]),
        warm_parallel=summarize([sample for each in slices for sample in each.warm_parallel_s]),
        cpu_ms_per_run=round(sum(each.cpu_ms_per_run for each in slices) / len(slices), 3),
    )


def _measure(slots: int, runs: int) -> Slice:
    from sandbox.bare import run_bare
    from sandbox.job import Job, SandboxConfig

    config = SandboxConfig(
        nsjail=str(find_program("nsjail", None)),
        name=f"bench-{slots}",
        slots=slots,
        box_bytes=256 * MIB,
    )
    with tempfile.TemporaryDirectory(prefix="khala-bench-") as folder:
        job = Job(
            command=b"true",
            stage=Stage.EXECUTE,
            limits=_LIMITS,
            stdout=str(Path(folder, "stdout")),
            stderr=str(Path(folder, "stderr")),
        )
        run_bare(config, job, runs=_WARM_UP, workers=1)
        serial = run_bare(config, job, runs=runs, workers=1)
        parallel = run_bare(config, job, runs=runs, workers=slots)
        warm = run_bare(config, job, runs=runs, workers=1, warm=True)
        warm_parallel = run_bare(config, job, runs=runs, workers=slots, warm=True)
    return Slice(
        serial_s=[ms / 1000 for ms in serial.latencies_ms],
        parallel_s=parallel.elapsed_s,
        warm_s=[ms / 1000 for ms in warm.latencies_ms],
        warm_parallel_s=[ms / 1000 for ms in warm_parallel.latencies_ms],
        cpu_ms_per_run=serial.cpu_ms_per_run,
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_measure(int(sys.argv[1]), int(sys.argv[2]))))
