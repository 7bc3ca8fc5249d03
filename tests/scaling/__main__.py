"""What a control plane does with more judicators and more executors, in one table.

    build/test scaling [--executors 10,100,1000] [--tasks 2000]

Three control planes, one after the other, out of the real file: one judicator without certificates,
one with, three with. To each, simulated executors are connected: real sessions over the real
protocol that answer at once, so that what is measured is the control plane and not the tasks. They
and the clients share the machine with it, which is said in the table: processor time is told by
process, and unlike a throughput it means something on a machine that is too small or busy.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.ids import mint_nonce
from khala.model.spec import Part, StageLimits
from khala.net.address_book import AddressBook
from khala.net.client import JudicatorClient
from khala.net.credentials import Credentials
from khala.net.secrets import SecretFile
from khala.pki.node import JUDICATOR, NodeTls
from khala.protocol.rpc import SubmitTask
from roles.bench.control_plane import Instant
from roles.executor.link import Link
from tests.cluster.harness import wait_until
from tests.cluster.nodes import Cluster, Node, growing
from tests.cluster.test_members import settled

#: Of all executors together, so that each row can have as much under way.
SLOTS = 640
CLIENTS = 64
IDLE_S = 10.0
CONNECT_S = 300.0
ADDRESSES = {"a": "127.0.0.51", "b": "127.0.0.52", "c": "127.0.0.53"}
_TICKS = os.sysconf("SC_CLK_TCK")
_LIMITS = StageLimits(
    wall_ms=10_000,
    cpu_ms=10_000,
    memory_bytes=1 << 28,
    pids=64,
    output_bytes=1 << 20,
    file_bytes=1 << 20,
)
_TASK = SubmitTask(
    user=0,
    compile_timeout_s=10,
    execute_timeout_s=10,
    compile_limits=_LIMITS,
    execute_limits=_LIMITS,
    parts={Part.EXECUTE_COMMAND: b"true"},
)


class Cell(Struct, frozen=True, kw_only=True):
    """One control plane with so many executors."""

    plane: str
    executors: int
    tasks_per_s: float
    #: Milliseconds of processor time per task, of all judicators together.
    serve_ms: float
    mongod_ms: float
    etcd_ms: float
    #: The same of this process: clients and simulated executors.
    load_ms: float
    #: While nothing is to be done: microseconds per executor and second.
    idle_us: float
    #: Resident memory of the serving processes: more than without executors, per executor.
    idle_kib: float


class Plane:
    """A control plane that runs, and how to reach it."""

    def __init__(self, name: str, cluster: Cluster, credentials: Credentials) -> None:
        self.name = name
        self._cluster = cluster
        self.credentials = credentials
        self.addresses = cluster.judicators.split(",")

    def seconds(self, word: str) -> float:
        """Of processor time, since the start of these processes."""
        return sum(_seconds(node.pid_of(word)) for node in self._cluster.nodes.values())

    def resident_kib(self) -> float:
        pids = [node.pid_of("judicator-serve") for node in self._cluster.nodes.values()]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024


@contextmanager
def planes(folder: Path) -> Iterator[Iterator[Plane]]:
    """Each is there until the next is asked for."""
    with growing(folder / "plain") as plain:
        yield _planes(folder, plain)


def _planes(folder: Path, plain: Cluster) -> Iterator[Plane]:
    node = plain.nodes["a"] = Node(folder, "plain-a", "judicator", plain.ports.argv)
    plain.addresses["a"] = "127.0.0.1"
    node.start()
    wait_until(lambda: _serves(f"http://{plain.judicators}/readyz"), 120, "it serves")
    secret = SecretFile(node.data_dir / "secret", flag="--secret-file")
    yield Plane("1, no TLS", plain, Credentials(secret))
    plain.destroy()
    (folder / "tls").mkdir()
    with growing(folder / "tls") as cluster:
        first = cluster.judicator("a", ADDRESSES["a"])
        # A judicator's certificate: it may speak for an executor of any name.
        credentials = Credentials(secret, lambda: NodeTls(first.data_dir, JUDICATOR))
        yield Plane("1, TLS", cluster, credentials)
        for name in ("b", "c"):
            token = cluster.token_file("judicator")
            joining = ("--join", cluster.judicators, "--join-token-file", str(token))
            cluster.judicator(name, ADDRESSES[name], *joining)
            wait_until(lambda: settled(cluster, len(cluster.addresses)), 120, "it is a member")
        yield Plane("3, TLS", cluster, credentials)


async def measure(plane: Plane, executors: int, tasks: int) -> Cell:
    """Connect them, watch them be idle, then submit."""
    before_kib = plane.resident_kib()
    slots = max(1, SLOTS // executors)
    crowd = [
        Instant(number, Link(AddressBook(plane.addresses), plane.credentials), slots)
        for number in range(executors)
    ]
    serving = [asyncio.ensure_future(each.serve()) for each in crowd]
    client = JudicatorClient(AddressBook(plane.addresses), plane.credentials)
    try:
        async with asyncio.timeout(CONNECT_S):
            while not all(each.agent.session for each in crowd):
                await asyncio.sleep(0.1)
        await asyncio.sleep(2.0)
        idle = plane.seconds("judicator-serve")
        await asyncio.sleep(IDLE_S)
        idle = plane.seconds("judicator-serve") - idle
        kib = plane.resident_kib() - before_kib
        words = ("judicator-serve", "mongod", "etcd")
        # Connections that are being opened are not what is measured.
        await _submit(client, CLIENTS)
        await _recorded(crowd, CLIENTS)
        used = {word: plane.seconds(word) for word in words}
        load = time.process_time()
        started = time.monotonic()
        await _submit(client, tasks)
        await _recorded(crowd, CLIENTS + tasks)
        took = time.monotonic() - started
        load = time.process_time() - load
        used = {word: plane.seconds(word) - used[word] for word in words}
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await client.close()
    return Cell(
        plane=plane.name,
        executors=executors,
        tasks_per_s=round(tasks / took, 1),
        serve_ms=round(used["judicator-serve"] * 1000 / tasks, 2),
        mongod_ms=round(used["mongod"] * 1000 / tasks, 2),
        etcd_ms=round(used["etcd"] * 1000 / tasks, 2),
        load_ms=round(load * 1000 / tasks, 2),
        idle_us=round(idle * 1e6 / IDLE_S / executors, 1),
        idle_kib=round(kib / executors, 1),
    )


async def _submit(client: JudicatorClient, tasks: int) -> None:
    """Repeated with the same key where a busy machine let an answer be late."""
    left = iter(range(tasks))

    async def submit() -> None:
        for _ in left:
            task = msgspec.structs.replace(_TASK, key=mint_nonce())
            while True:
                with contextlib.suppress(Unavailable, OutcomeUnknown):
                    await client.submit(task)
                    break

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(submit())


async def _recorded(crowd: list[Instant], tasks: int) -> None:
    while sum(each.recorded for each in crowd) < tasks:
        await asyncio.sleep(0.005)


def _serves(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="build/test scaling", description="Measure a control plane as it grows."
    )
    parser.add_argument("--executors", default="10,100,1000", help="Counts, with commas.")
    parser.add_argument("--tasks", type=int, default=2000, help="Of each cell.")
    options = parser.parse_args()
    try:
        counts = [int(each) for each in options.executors.split(",")]
    except ValueError:
        parser.error(f"--executors: '{options.executors}' is no list of numbers, as in 10,100")
    if min(counts) < 1 or options.tasks < 1:
        parser.error("--executors and --tasks begin at 1")
    columns = Cell.__struct_fields__
    say = sys.stdout.write
    say("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|\n")
    with (
        tempfile.TemporaryDirectory(prefix="khala-scaling-", dir="/var/tmp") as folder,
        planes(Path(folder)) as found,
    ):
        for plane in found:
            for count in counts:
                cell = asyncio.run(measure(plane, count, options.tasks))
                shown = " | ".join(str(each) for each in msgspec.structs.astuple(cell))
                say(f"| {shown} |\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
