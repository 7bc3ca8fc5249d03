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
from khala.model.task import Stage, StageLimits
from khala.supervise.binaries import find_program
from roles.bench.stats import Latency, summarize

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


class Bare(Struct, frozen=True, kw_only=True):
    serial_per_s: float
    serial: Latency
    #: Jails at the same time in the second loop.
    parallel: int
    parallel_per_s: float
    #: Processor time of one jail, its loop included.
    cpu_ms_per_run: float


async def measure(slots: int, runs: int) -> Bare:
    """Time `runs` serial and `runs` parallel no-op jails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "roles.bench.bare", str(slots), str(runs)), stdout=PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise Unavailable("the bare jail could not be measured; its message is above")
    return msgspec.json.decode(printed, type=Bare)


def _measure(slots: int, runs: int) -> Bare:
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
    return Bare(
        serial_per_s=round(runs / serial.elapsed_s, 2),
        serial=summarize([ms / 1000 for ms in serial.latencies_ms]),
        parallel=slots,
        parallel_per_s=round(runs / parallel.elapsed_s, 2),
        cpu_ms_per_run=round(serial.cpu_ms_per_run, 3),
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_measure(int(sys.argv[1]), int(sys.argv[2]))))
