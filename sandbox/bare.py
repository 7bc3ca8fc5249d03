"""The base line of the benchmark: the same jail in the smallest loop that is still correct.

Same configuration, cgroups, box and policy as `Box.run`, but one thread per jail that starts it
and waits; outputs go straight to files, no timers, no statistics. What Khala adds to this is what
it costs.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from khala.model.errors import invariant
from sandbox import nsjail
from sandbox.box import Box
from sandbox.errors import SandboxLost
from sandbox.host import Host, open_host
from sandbox.job import Job, SandboxConfig


class BareResult(Struct, frozen=True, kw_only=True):
    """What the loop reached."""

    elapsed_s: float
    #: One per run, in the order in which they ended.
    latencies_ms: tuple[float, ...]
    #: Processor time of this process and of all jails, per run.
    cpu_ms_per_run: float


def run_bare(config: SandboxConfig, job: Job, *, runs: int, workers: int) -> BareResult:
    """Run `job` so many times on `workers` slots at once; main thread only.

    The command must exit with 0. Its outputs are not kept apart: every worker overwrites them.
    """
    invariant(1 <= workers <= config.slots, f"{workers} workers do not fit {config.slots} slots")
    host = open_host(config)
    latencies: list[float] = []
    left = iter(range(runs))
    lock = threading.Lock()

    def work(slot: int) -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            started = time.perf_counter()
            _run_once(host, slot, job)
            latencies.append((time.perf_counter() - started) * 1000)

    cpu_before, started = _cpu_s(), time.perf_counter()
    try:
        if workers == 1:
            work(0)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, range(workers)))
        elapsed_s = time.perf_counter() - started
        cpu_s = _cpu_s() - cpu_before
    finally:
        host.close()
    return BareResult(
        elapsed_s=elapsed_s,
        latencies_ms=tuple(latencies),
        cpu_ms_per_run=cpu_s * 1000 / runs,
    )


def _run_once(host: Host, slot: int, job: Job) -> None:
    box = Box(host, slot)
    leaf = host.tree.leaf(f"{slot}-{job.stage}")
    try:
        box.write_script(job)
        leaf.create()
        leaf.limit(job.limits)
        stdio = (
            os.open(job.stdin or os.devnull, os.O_RDONLY | os.O_CLOEXEC),
            os.open(job.stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600),
            os.open(job.stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600),
        )
        child = nsjail.spawn(host.place(slot), job, stdio)
        nsjail.prepare(child.pid, job.limits)
        leaf.attach(child.pid)
        child.open_gate()
        _, status = os.waitpid(child.pid, 0)
        for fd in stdio:
            os.close(fd)
        child.close()
    finally:
        leaf.try_remove()
        box.release()
    if status != 0:
        raise SandboxLost(f"the bare command ended with wait status {status}")


def _cpu_s() -> float:
    usages = (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
