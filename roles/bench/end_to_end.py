"""(b) Tasks through HTTP: accepted durably, run in the jail, recorded, and seen done by a client.

Throughput with twice as many clients as slots, so that no slot waits for a client; latency of
one client, one task after another. The task is a no-op with an empty compile command: one jail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from msgspec import Struct

from khala.model.errors import Unavailable
from roles.bench.stack import run_up
from roles.bench.stats import Latency, summarize

_FORM = {
    "user": "0",
    "compile_command": "",
    "compile_timeout": "10",
    "execute_input": "",
    "execute_command": "true",
    "execute_timeout": "10",
    "execute_standard": "",
}


class EndToEnd(Struct, frozen=True, kw_only=True):
    tasks: int
    clients: int
    tasks_per_s: float
    #: Submit to done, sequential tasks.
    latency: Latency


class Slice(Struct, frozen=True, kw_only=True):
    """One round."""

    tasks: int
    elapsed_s: float
    sequential_s: list[float]


@asynccontextmanager
async def started(slots: int) -> AsyncIterator[aiohttp.ClientSession]:
    """A whole Khala, warm, and a client of it."""
    async with run_up(slots) as stack:
        url = f"http://127.0.0.1:{stack.ports.http}"
        async with aiohttp.ClientSession(base_url=url) as session:
            await _wait_for_slots(session)
            await _load(session, clients=2 * slots, duration_s=2.0)
            yield session


async def measure(
    session: aiohttp.ClientSession, slots: int, duration_s: float, sequential: int
) -> Slice:
    """Load it for `duration_s`, then time `sequential` tasks, one after another."""
    tasks, elapsed_s = await _load(session, clients=2 * slots, duration_s=duration_s)
    samples = [await _one(session) for _ in range(sequential)]
    return Slice(tasks=tasks, elapsed_s=elapsed_s, sequential_s=samples)


def combine(slots: int, slices: list[Slice]) -> EndToEnd:
    """Rounds of equal length into one figure each."""
    tasks = sum(each.tasks for each in slices)
    return EndToEnd(
        tasks=tasks,
        clients=2 * slots,
        tasks_per_s=round(tasks / sum(each.elapsed_s for each in slices), 2),
        latency=summarize([sample for each in slices for sample in each.sequential_s]),
    )


async def _wait_for_slots(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(60):
        while True:
            async with session.get("/api/v2/status") as response:
                if response.status == 200 and (await response.json())["free"] > 0:
                    return
            await asyncio.sleep(0.1)


async def _load(
    session: aiohttp.ClientSession, *, clients: int, duration_s: float
) -> tuple[int, float]:
    started = time.monotonic()
    until = started + duration_s

    async def client() -> int:
        done = 0
        while time.monotonic() < until:
            await _one(session)
            done += 1
        return done

    counts = await asyncio.gather(*(client() for _ in range(clients)))
    return sum(counts), time.monotonic() - started


async def _one(session: aiohttp.ClientSession) -> float:
    """Submit a task and wait until it is done; seconds."""
    started = time.monotonic()
    async with session.post("/api/task", data=_FORM) as response:
        answer = await response.json()
    if answer["result"] != 0:
        raise Unavailable(f"the task was not accepted: {answer}")
    path = f"/api/v2/tasks/{answer['id']}"
    while True:
        async with session.get(path, params={"wait": "30s"}) as response:
            task = await response.json()
        if task["state"] == "succeeded":
            return time.monotonic() - started
        if task["finished_at"] is not None:
            raise Unavailable(f"a no-op task ended otherwise: {task}")
