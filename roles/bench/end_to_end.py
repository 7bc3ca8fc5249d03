"""(b) Tasks through HTTP: accepted durably, run in the jail, recorded, and seen done by a client.

Throughput with twice as many clients as slots, so that no slot waits for a client; latency of
one client, one task after another. The task is a no-op with an empty compile command: one jail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from khala.model.errors import Unavailable
from roles.bench import costs
from roles.bench.costs import Costs, read_costs
from roles.bench.http import Connection, connected
from roles.bench.stack import Stack, run_up
from roles.bench.stats import Latency, summarize

_FORM = urlencode(
    {
        "user": 0,
        "compile_command": "",
        "compile_timeout": 10,
        "execute_input": "",
        "execute_command": "true",
        "execute_timeout": 10,
        "execute_standard": "",
    }
).encode()
_FORM_HEADERS = "Content-Type: application/x-www-form-urlencoded\r\n"


class EndToEnd(Struct, frozen=True, kw_only=True):
    tasks: int
    clients: int
    tasks_per_s: float
    #: Submit to done, sequential tasks.
    latency: Latency
    #: Of one task at full load.
    cpu_ms_per_task: Costs


class Slice(Struct, frozen=True, kw_only=True):
    """One round."""

    tasks: int
    elapsed_s: float
    #: Of all tasks under load.
    cpu_s: Costs
    sequential_s: list[float]


class _Added(Struct, frozen=True):
    id: str | None
    result: int


class _Seen(Struct, frozen=True):
    state: str
    finished_at: str | None


class _Status(Struct, frozen=True):
    free: int


@asynccontextmanager
async def started(slots: int, *options: str) -> AsyncIterator[Stack]:
    """A whole Khala that has run for a moment."""
    async with run_up(slots, *options) as stack:
        await _wait_for_slots(stack)
        await _load(stack, clients=2 * slots, duration_s=2.0)
        yield stack


async def measure(stack: Stack, slots: int, duration_s: float, sequential: int) -> Slice:
    """Load it for `duration_s`, then time `sequential` tasks, one after another."""
    before = read_costs(stack.data_dir)
    tasks, elapsed_s = await _load(stack, clients=2 * slots, duration_s=duration_s)
    spent = read_costs(stack.data_dir).since(before)
    async with connected(stack.ports.http) as connection:
        samples = [await _one(connection) for _ in range(sequential)]
    return Slice(tasks=tasks, elapsed_s=elapsed_s, cpu_s=spent, sequential_s=samples)


def combine(slots: int, slices: list[Slice]) -> EndToEnd:
    """Rounds of equal length into one figure each."""
    tasks = sum(each.tasks for each in slices)
    return EndToEnd(
        tasks=tasks,
        clients=2 * slots,
        tasks_per_s=round(tasks / sum(each.elapsed_s for each in slices), 2),
        latency=summarize([sample for each in slices for sample in each.sequential_s]),
        cpu_ms_per_task=costs.combine([each.cpu_s for each in slices], tasks),
    )


async def _wait_for_slots(stack: Stack) -> None:
    async with asyncio.timeout(60), connected(stack.ports.http) as connection:
        while msgspec.json.decode(await connection.get("/api/v2/status"), type=_Status).free == 0:
            await asyncio.sleep(0.1)


async def _load(stack: Stack, *, clients: int, duration_s: float) -> tuple[int, float]:
    started = time.monotonic()
    until = started + duration_s

    async def client() -> int:
        done = 0
        async with connected(stack.ports.http) as connection:
            while time.monotonic() < until:
                await _one(connection)
                done += 1
        return done

    counts = await asyncio.gather(*(client() for _ in range(clients)))
    return sum(counts), time.monotonic() - started


async def _one(connection: Connection) -> float:
    """Submit a task and wait until it is done; seconds."""
    started = time.monotonic()
    answer = await connection.post("/api/task", _FORM_HEADERS, _FORM)
    added = msgspec.json.decode(answer, type=_Added)
    if added.result != 0:
        raise Unavailable(f"the task was not accepted: {answer!r}")
    while True:
        answer = await connection.get(f"/api/v2/tasks/{added.id}?wait=30s")
        task = msgspec.json.decode(answer, type=_Seen)
        if task.state == "succeeded":
            return time.monotonic() - started
        if task.finished_at is not None:
            raise Unavailable(f"a no-op task ended otherwise: {answer!r}")
