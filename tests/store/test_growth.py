"""What the store reads for an answer does not grow with what it holds."""

from __future__ import annotations

from khala.store.mongo import MongoStore
from tests.growth.filling import Filling
from tests.growth.probes import PAGE, PROBES, SEARCH_MOST, work_of

SMALL, LARGE = 2_000, 12_000


async def test_answers_do_not_cost_more_in_a_larger_store(mongo: MongoStore) -> None:
    filling = Filling(mongo)
    await filling.grow(SMALL)
    small = {probe.name: await work_of(probe, mongo, filling) for probe in PROBES}
    await filling.grow(LARGE)
    for probe in PROBES:
        work = await work_of(probe, mongo, filling)
        grown = work.reads - small[probe.name].reads
        told = (probe.name, small[probe.name], work)
        if probe.searches:
            assert work.reads <= SEARCH_MOST, told
        elif probe.counts:
            assert work.keys <= 2 * LARGE and work.documents <= PAGE + 1, told
        else:
            assert grown <= PAGE, told
