"""The base line of the benchmark: the same jail in the smallest loop that is still correct.

Same configuration, cgroups, box and policy as `Box.run`, but one thread per jail that starts it
and waits; outputs go straight to files, no timers, no statistics. What Khala adds to this is what
it costs. Warm, a run is timed from the moment its jail, made before, is told to go.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from msgspec import Struct

from khala.model.errors import invariant
from sandbox import nsjail
from sandbox.box import Box
from sandbox.errors import SandboxLost
from sandbox.group import Leaf
from sandbox.host import Host, open_host
from sandbox.job import Job, SandboxConfig
from sandbox.killing import children_of
from sandbox.orders import orders_for


class BareResult(Struct, frozen=True, kw_only=True):
    """What the loop reached."""

    elapsed_s: float
    #: One per run, in the order in which they ended; without the making where it was warm.
    latencies_ms: tuple[float, ...]
    #: Processor time of this process and of all jails, per run.
    cpu_ms_per_run: float


def run_bare(
    config: SandboxConfig, job: Job, *, runs: int, workers: int, warm: bool = False
) -> BareResult:
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
            from_go_ms = _run_once(host, slot, job)
            whole_ms = (time.perf_counter() - started) * 1000
            latencies.append(from_go_ms if warm else whole_ms)

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


def _run_once(host: Host, slot: int, job: Job) -> float:
    """The milliseconds from "go" to the end of nsjail."""
    box = Box(host, slot)
    leaf = host.tree.leaf(f"{slot}-bare")
    try:
        box.write_script(job)
        leaf.create()
        with ExitStack() as closing:
            child, gate = _make(host.place(slot), leaf, job, closing)
            gate.recv(64)
            (first_pid,) = children_of(child.pid)
            went_at = time.perf_counter()
            leaf.limit(job.limits)
            nsjail.limit(host.place(slot), first_pid, job.limits)
            gate.send(b"\n")
            _, status = os.waitpid(child.pid, 0)
            took_ms = (time.perf_counter() - went_at) * 1000
    finally:
        leaf.try_remove()
        box.release()
    if status != 0:
        raise SandboxLost(f"the bare command ended with wait status {status}")
    return took_ms


def _make(
    place: nsjail.Place, leaf: Leaf, job: Job, closing: ExitStack
) -> tuple[nsjail.Child, socket.socket]:
    def opened(path: str, flags: int) -> int:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        closing.callback(os.close, fd)
        return fd

    gate, theirs = socket.socketpair()
    closing.callback(gate.close)
    orders = os.memfd_create("orders", os.MFD_CLOEXEC)
    closing.callback(os.close, orders)
    os.fchmod(orders, 0o444)
    os.write(orders, orders_for(job))
    replaced = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with theirs:
        child = nsjail.start(
            place,
            leaf,
            nsjail.Channels(
                stdin=opened(job.stdin or os.devnull, os.O_RDONLY),
                stdout=opened(job.stdout, replaced),
                stderr=opened(job.stderr, replaced),
                gate=theirs.fileno(),
                orders=opened(f"/proc/self/fd/{orders}", os.O_RDONLY),
            ),
        )
    closing.callback(child.close)
    child.open_gate()
    return child, gate


def _cpu_s() -> float:
    usages = (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
