"""What is asked of a store all the time, and how much the server reads for the answer.

Milliseconds on a shared machine say little; how many entries of indexes and how many documents a
question makes the server read is exact, and is what must not grow with what is stored. Each `Probe`
is done by Khala's own statements, and `work_of` takes the server's profile of it. What the test
holds to a bound (`tests/store/test_growth.py`) and what is measured (`build/test growth`) are these
same probes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from khala.model.ids import JobId
from khala.model.job import Stop
from khala.model.ranges import parse_array
from khala.model.task import TaskState
from khala.protocol.queue import ReadQueue
from khala.protocol.rpc import ListTasks, SortKey
from khala.store.listing import WINDOW_DOCS, WINDOWS
from khala.store.mongo import MongoStore
from tests.growth.filling import Filling
from tests.store.samples import a_lease, a_spec, a_task, finish_item, lease_item
from tests.store.test_jobs import a_job

PAGE = 50
ARRAY = 100_000
#: To find the end of each window, and to look at what is in it: an entry and a document.
SEARCH_MOST = WINDOWS * WINDOW_DOCS * 4


class Work(Struct, frozen=True, kw_only=True):
    """What a question made the server read."""

    keys: int
    documents: int

    @property
    def reads(self) -> int:
        return self.keys + self.documents


class Probe(Struct, frozen=True, kw_only=True):
    name: str
    ask: Callable[[MongoStore, Filling], Awaitable[object]]
    #: Reads an entry of an index for each of those it counts or puts in order, and no document
    #: that is not shown.
    counts: bool = False
    #: Looks at documents on its way, which has an end.
    searches: bool = False


def _page(**query: object) -> Callable[[MongoStore, Filling], Awaitable[object]]:
    async def ask(store: MongoStore, filling: Filling) -> object:
        return await store.tasks.list_tasks(ListTasks(limit=PAGE, **query))  # type: ignore[arg-type]

    return ask


async def _middle(store: MongoStore, filling: Filling) -> object:
    return await store.tasks.list_tasks(ListTasks(limit=PAGE, after=filling.middle))


async def _whole_id(store: MongoStore, filling: Filling) -> None:
    """Far from where the list begins."""
    [middle] = (await store.tasks.list_tasks(ListTasks(limit=1, after=filling.middle))).tasks
    found = await store.tasks.list_tasks(ListTasks(limit=PAGE, words=(middle.id,)))
    assert [row.id for row in found.tasks] == [middle.id]


async def _plain(store: MongoStore, filling: Filling) -> object:
    """Behind all that have a priority."""
    query = ListTasks(limit=PAGE, sort=SortKey.PRIORITY, after=filling.middle)
    found = await store.tasks.list_tasks(query)
    assert not any(task.priority for task in found.tasks)
    return found


async def _life(store: MongoStore, filling: Filling) -> None:
    """One task from its submission to its end, behind all that wait."""
    task = a_task()
    await store.dispatch.accept(task)
    assert await store.dispatch.lease_if_queued(lease_item(task.id, lease=a_lease()))
    await store.dispatch.finish_if_attempt(finish_item(task.id))


async def _next(store: MongoStore, filling: Filling) -> None:
    shape = a_spec().shape
    assert len(await store.dispatch.find_queued(shape, PAGE, 0.0)) == PAGE
    assert await store.dispatch.find_shapes("", PAGE)


async def _head(store: MongoStore, filling: Filling) -> None:
    assert len((await store.queue.read(ReadQueue(limit=PAGE))).tasks) == PAGE


async def _array(store: MongoStore, filling: Filling) -> None:
    """Accepted, its first and its last page, stopped."""
    new = replace(a_job(parse_array(f"1-{ARRAY}").indexes))
    await store.jobs.insert_if_new(new)
    for first in (1, ARRAY - PAGE):
        await store.jobs.list_made(JobId(new.id), first, first + PAGE, (), PAGE)
    assert await store.jobs.stop_if_open(JobId(new.id), Stop.CANCELLED)


async def _retention(store: MongoStore, filling: Filling) -> None:
    """The oldest that have ended, and what is the date of the thousandth newest."""
    assert await store.retention.date_of_newest(1000 if filling.size > 1000 else 1)
    walk = store.retention.find_ended(filling.at(PAGE) + timedelta(seconds=3))
    assert [each async for each in walk]


PROBES = (
    Probe(name="first page", ask=_page()),
    Probe(name="page in the middle", ask=_middle),
    Probe(name="page of one state", ask=_page(states=(TaskState.FAILED,))),
    Probe(name="page of one label", ask=_page(labels=("course=7",))),
    Probe(name="page of one user", ask=_page(user=7)),
    Probe(name="page of what waits", ask=_page(states=(TaskState.QUEUED,))),
    Probe(name="page by the end", ask=_page(sort=SortKey.FINISHED_AT)),
    Probe(name="page by priority", ask=_page(sort=SortKey.PRIORITY)),
    Probe(
        name="page of what waits by priority",
        ask=_page(sort=SortKey.PRIORITY, states=(TaskState.QUEUED,)),
    ),
    Probe(name="page by priority, of those without one", ask=_plain, searches=True),
    Probe(name="page by a name that none has", ask=_page(name="nowhere"), searches=True),
    Probe(name="page by words that none has", ask=_page(words=("no", "where=1")), searches=True),
    Probe(name="page by words that are a label", ask=_page(words=("course=7",)), searches=True),
    Probe(name="page by a whole id", ask=_whole_id),
    Probe(name="first page and how many", ask=_page(count=True), counts=True),
    Probe(name="one task's life", ask=_life),
    Probe(name="the next to be given", ask=_next),
    Probe(name="head of the queue", ask=_head),
    Probe(name="array of 100,000", ask=_array),
    Probe(name="retention's next look", ask=_retention),
    Probe(name="how many wait and run", ask=lambda store, _: store.tasks.counts(), counts=True),
    Probe(name="who has waited longest", ask=lambda store, _: store.tasks.oldest_queued()),
)


async def work_of(probe: Probe, store: MongoStore, filling: Filling) -> Work:
    """The sum over all commands that asking sends. The server notes them while it answers."""
    database = store.database
    await database["system.profile"].drop()
    await database.command("profile", 2)
    try:
        await probe.ask(store, filling)
    finally:
        await database.command("profile", 0)
    done = await database["system.profile"].find({"planSummary": {"$exists": True}}).to_list()
    await database["system.profile"].drop()
    assert not any("COLLSCAN" in each["planSummary"] for each in done), probe.name
    return Work(
        keys=sum(each.get("keysExamined", 0) for each in done),
        documents=sum(each.get("docsExamined", 0) for each in done),
    )
