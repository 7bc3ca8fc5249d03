"""What the store reads for an answer does not grow with what it holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from khala.model.holds import Hold
from khala.model.task import TaskState
from khala.protocol.rpc import ListTasks
from khala.store.dates import to_ms
from khala.store.mongo import MongoStore
from tests.growth.filling import Filling
from tests.growth.probes import PAGE, PROBES, SEARCH_MOST, work_of
from tests.store.samples import a_task

SMALL, LARGE = 2_000, 12_000


async def test_a_page_of_what_is_held_reads_what_it_shows(mongo: MongoStore) -> None:
    """A queue of each kind has its own index by date."""
    until = datetime.now(UTC) + timedelta(hours=1)
    held = [replace(a_task(), hold=Hold(until=until)) for _ in range(3 * PAGE)]
    queued = [a_task() for _ in range(3 * PAGE)]
    await mongo.tasks.insert_if_new(held + queued)
    waiting = next(probe for probe in PROBES if probe.name == "page of what waits")
    work = await work_of(waiting, mongo, Filling(mongo))
    assert work.reads <= 4 * (PAGE + 1), work
    shown = await mongo.tasks.list_tasks(ListTasks(limit=PAGE, states=(TaskState.QUEUED,)))
    newest = sorted(held + queued, key=lambda task: (to_ms(task.submitted_at), task.id))
    assert [row.id for row in shown.tasks] == [task.id for task in newest[::-1][:PAGE]]


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
