"""What Khala asks of its store while that grows: how much is read for it, and how long it takes.

    build/test growth [--sizes 1000,10000,100000,1000000] [--rounds 9]

On a mongod of its own. A million tasks take some minutes and 2 GB below the temporary directory.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

from khala.store.mongo import MongoStore
from khala.store.schema import ensure_schema
from tests.growth.filling import Filling
from tests.growth.probes import PROBES, Probe, Work, work_of
from tests.store.conftest import opened
from tests.store.mongod import Mongod, temporary_directory


class Tables:
    """By the name of a probe, a cell for each size."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = sizes
        self._work: dict[str, list[Work]] = {probe.name: [] for probe in PROBES}
        self._ms: dict[str, list[float]] = {probe.name: [] for probe in PROBES}

    def add(self, probe: Probe, work: Work, ms: float) -> None:
        self._work[probe.name].append(work)
        self._ms[probe.name].append(ms)

    def text(self) -> str:
        reads = [
            (name, [f"{work.keys:,} + {work.documents:,}" for work in row])
            for name, row in self._work.items()
        ]
        times = [(name, [f"{ms:.1f}" for ms in row]) for name, row in self._ms.items()]
        return "\n".join(
            [
                *self._table("entries of indexes + documents read", reads),
                "",
                *self._table("ms, median", times),
            ]
        )

    def _table(self, corner: str, rows: list[tuple[str, list[str]]]) -> list[str]:
        columns = [corner, *(f"{size:,}" for size in self._sizes)]
        lines = [columns, ["---"] * len(columns), *([name, *cells] for name, cells in rows)]
        return [f"| {' | '.join(line)} |" for line in lines]


async def measure(store: MongoStore, sizes: list[int], rounds: int) -> Tables:
    tables = Tables(sizes)
    filling = Filling(store)
    for size in sizes:
        started = time.monotonic()
        await filling.grow(size)
        sys.stderr.write(f"{size:,} tasks after {time.monotonic() - started:.0f} s\n")
        for probe in PROBES:
            work = await work_of(probe, store, filling)
            tables.add(probe, work, await _median_ms(probe, store, filling, rounds))
    return tables


async def _median_ms(probe: Probe, store: MongoStore, filling: Filling, rounds: int) -> float:
    """The first one, which finds nothing in any cache, was asked by `work_of`."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        await probe.ask(store, filling)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000


async def run(sizes: list[int], rounds: int) -> None:
    with temporary_directory() as directory:
        server = Mongod(Path(directory))
        server.start()
        try:
            await server.ready()
            async with opened(server.settings) as store:
                await ensure_schema(store.database)
                tables = await measure(store, sizes, rounds)
        finally:
            server.kill()
    sys.stdout.write(f"{tables.text()}\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="build/test growth", description="Measure what Khala asks of a store that grows."
    )
    parser.add_argument("--sizes", default="1000,10000,100000,1000000", help="with commas, rising")
    parser.add_argument("--rounds", type=int, default=9, help="of which the median is told")
    options = parser.parse_args()
    try:
        sizes = sorted({int(size) for size in options.sizes.split(",")})
    except ValueError:
        parser.error(f"--sizes: '{options.sizes}' is not a list of numbers, as in 1000,10000")
    if sizes[0] < 1000 or options.rounds < 1:
        parser.error("--sizes begin at 1000, --rounds at 1")
    asyncio.run(run(sizes, options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
