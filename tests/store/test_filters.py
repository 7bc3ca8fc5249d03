"""Every filter of a list: the same answers on both stores, and on MongoDB never at the price of
looking at everything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from khala.model.cases import Judgement, Verdict
from khala.model.holds import RELEASE, Hold, HoldKey
from khala.model.ids import AttemptNo, ExecutorName, TaskId
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.statements import FinishItem, NewTask
from khala.model.task import TaskState
from khala.protocol.rpc import ListTasks, SortKey
from khala.store import listing
from khala.store.listing import WINDOWS
from khala.store.mongo import MongoStore
from tests.store.conftest import Store
from tests.store.samples import a_lease, a_task, lease_item
from tests.store.test_list import pages

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MEMORY = Outcome(
    ending=Ending.FAILED,
    reason=Reason.MEMORY,
    executor=ExecutorName("e2"),
    judgement=Judgement(verdict=Verdict.MLE),
)
OK = Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK, executor=ExecutorName("e1"))


def labelled(n: int, *, name: str = "", labels: dict[str, str] | None = None) -> NewTask:
    task = a_task(n % 2, submitted_at=NOON + n * SECOND)
    return replace(task, spec=replace(task.spec, name=name, labels=labels or {}))


async def filled(store: Store) -> list[TaskId]:
    """0 and 1 succeeded on e1, 2 failed for memory on e2, 3 runs on e1, 4 waits; they ended in the
    reverse order of their submission."""
    tasks = [
        labelled(0, name="Alpha one", labels={"hw": "3", "set": "a"}),
        labelled(1, labels={"hw": "3"}),
        labelled(2, name="beta (2)", labels={"hw": "4", "set": "a"}),
        labelled(3, name="ALPHA two"),
        labelled(4),
    ]
    for n, task in enumerate(tasks):
        await store.dispatch.accept(task)
        if n < 4:
            assert await store.dispatch.lease_if_queued(lease_item(task.id, lease=a_lease("e1")))
    for n in (2, 1, 0):
        item = FinishItem(
            id=tasks[n].id,
            attempt=AttemptNo(1),
            outcome=MEMORY if n == 2 else OK,
            at=NOON + (100 - n) * SECOND,
        )
        await store.dispatch.finish_if_attempt(item)
    return [task.id for task in tasks]


async def test_rows_say_who_runs_them_or_ran_them_to_their_end(store: Store) -> None:
    await filled(store)
    rows = (await store.tasks.list_tasks(ListTasks(limit=9, oldest_first=True))).tasks
    assert [row.executor for row in rows] == ["e1", "e1", "e2", "e1", None]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (ListTasks(limit=9, reasons=(Reason.MEMORY,)), [2]),
        (ListTasks(limit=9, reasons=(Reason.OK, Reason.MEMORY)), [2, 1, 0]),
        (ListTasks(limit=9, reasons=(Reason.OK,), states=(TaskState.FAILED,)), []),
        (ListTasks(limit=9, verdicts=(Verdict.MLE, Verdict.AC)), [2]),
        (ListTasks(limit=9, verdicts=(Verdict.AC,)), []),
        (ListTasks(limit=9, labels=("hw=3",)), [1, 0]),
        (ListTasks(limit=9, labels=("hw=3", "set=a")), [0]),
        (ListTasks(limit=9, labels=("set=a",), states=(TaskState.FAILED,)), [2]),
        (ListTasks(limit=9, name="alpha"), [3, 0]),
        (ListTasks(limit=9, name="(2)"), [2]),
        (ListTasks(limit=9, node=ExecutorName("e1")), [3, 1, 0]),
        (ListTasks(limit=9, node=ExecutorName("e2")), [2]),
        (ListTasks(limit=9, user=0, name="alpha"), [0]),
        (ListTasks(limit=9, user=1, states=(TaskState.STARTING,)), [3]),
        (ListTasks(limit=9, states=(TaskState.QUEUED, TaskState.SUCCEEDED)), [4, 1, 0]),
        (ListTasks(limit=9, states=(TaskState.STARTING, TaskState.FAILED)), [3, 2]),
        (ListTasks(limit=9, sort=SortKey.FINISHED_AT), [0, 1, 2]),
        (ListTasks(limit=9, sort=SortKey.FINISHED_AT, oldest_first=True), [2, 1, 0]),
        (ListTasks(limit=9, sort=SortKey.FINISHED_AT, user=0), [0, 2]),
        (ListTasks(limit=9, finished=(NOON + 99 * SECOND, None)), [1, 0]),
        (ListTasks(limit=9, finished=(None, NOON + 98 * SECOND)), [2]),
        (
            ListTasks(limit=9, sort=SortKey.FINISHED_AT, created=(NOON + SECOND, None)),
            [1, 2],
        ),
    ],
)
async def test_a_filter_shows_what_it_says(
    store: Store, query: ListTasks, expected: list[int]
) -> None:
    ids = await filled(store)
    for limit in (1, 2, 9):
        found = await pages(store, replace(query, limit=limit))
        assert [task for page in found for task in page] == [ids[n] for n in expected]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (ListTasks(limit=9, held=True), [6, 5]),
        (ListTasks(limit=9, held=True, oldest_first=True), [5, 6]),
        (ListTasks(limit=9, held=True, user=0), [6]),
        (ListTasks(limit=9, held=True, states=(TaskState.QUEUED,)), [6, 5]),
        (ListTasks(limit=9, held=True, states=(TaskState.FAILED,)), []),
        (ListTasks(limit=9, held=True, labels=("hw=3",)), []),
        (ListTasks(limit=9, held=False), [7, 4, 3, 2, 1, 0]),
        (ListTasks(limit=9, held=False, states=(TaskState.QUEUED,)), [7, 4]),
        (ListTasks(limit=9, held=True, sort=SortKey.FINISHED_AT), []),
    ],
)
async def test_what_a_person_holds(store: Store, query: ListTasks, expected: list[int]) -> None:
    ids = await filled(store)
    for n in (5, 6, 7):
        # The last one waits for something else.
        key = HoldKey("after-ok:" + "a" * 24) if n == 7 else RELEASE
        task = replace(labelled(n), hold=Hold(keys=(key,)))
        await store.dispatch.accept(task)
        ids.append(task.id)
    for limit in (1, 9):
        found = await pages(store, replace(query, limit=limit))
        assert [task for page in found for task in page] == [ids[n] for n in expected]


async def test_the_beginning_of_an_id(store: Store) -> None:
    ids = await filled(store)
    for length in (6, 23, 24):
        found = await store.tasks.list_tasks(ListTasks(limit=9, id_prefix=ids[2][:length]))
        assert ids[2] in [task.id for task in found.tasks]
        assert all(task.id.startswith(ids[2][:length]) for task in found.tasks)


#: Words, and which of the tasks of `named` are found by them.
SEARCHES: tuple[tuple[str, list[int]], ...] = (
    ("alpha", [1, 0]),
    ("ALPHA two", [1]),
    ("two alpha", [1]),
    ("alpha beta", []),
    # As they are written, whatever a pattern would make of them.
    ("a.b(", [2]),
    ("axb(", []),
    (".*", []),
    ("$", []),
    ("^", [3]),
    ("\\", [3]),
    ("ÄPFEL", [3]),
    # A label is the whole pair, in its own capitals.
    ("hw=3", [4, 0]),
    ("HW=3", []),
    ("hw=", []),
    ("hw", []),
    ("=3", []),
    ("hw=3 set=a", [0]),
    ("hw=3 alpha", [0]),
    ("url=http://x?a=b", [4]),
    # The beginning of an id, or a part of a name.
    ("decade", [6, 5]),
    ("DECADE", [6, 5]),
    ("decad", [5]),
    ("decade0000000000000000", [6, 5]),
    ("decade0000000000000000 hw=4", [6]),
    # The whole of one is that task's alone, whatever others are called.
    ("decade000000000000000001", [6]),
    ("decade000000000000000001 alpha", []),
    ("decade000000000000000001 hw=4", [6]),
    ("decade000000000000000002", []),
    ("6b04d4787d852fb9eb7f7a4e", [7]),
    # A job's members.
    ("cafe00000000000001000000", [9, 8]),
    ("CAFE00000000000001000000 hw=4", [9]),
    ("cafe0000000000000100000", [9, 8]),
    ("cafe00000000000001000001", [8]),
)


async def named(store: Store) -> list[TaskId]:
    given: list[tuple[str, str, dict[str, str]]] = [
        ("", "Alpha one", {"hw": "3", "set": "a"}),
        ("", "alpha two", {}),
        ("", "a.b(c", {}),
        ("", "^ \\ äpfel", {}),
        ("", "", {"hw": "3", "url": "http://x?a=b"}),
        ("", "a decade of decade000000000000000001", {}),
        ("decade000000000000000001", "", {"hw": "4"}),
        ("", "of 6B04D4787D852FB9EB7F7A4E", {}),
        ("cafe00000000000001000001", "", {}),
        ("cafe00000000000001000002", "", {"hw": "4"}),
    ]
    found: list[TaskId] = []
    for n, (task_id, name, labels) in enumerate(given):
        task = labelled(n, name=name, labels=labels)
        task = replace(task, id=TaskId(task_id) if task_id else task.id)
        await store.dispatch.accept(task)
        found.append(task.id)
    return found


async def test_words_are_found_in_names_ids_and_labels(store: Store) -> None:
    ids = await named(store)
    for text, expected in SEARCHES:
        for limit in (1, 9):
            found = await pages(store, ListTasks(limit=limit, words=tuple(text.split())))
            assert [task for page in found for task in page] == [ids[n] for n in expected], text


@pytest.mark.parametrize(
    ("narrow", "expected"),
    [
        (ListTasks(limit=9, user=0), [6]),
        (ListTasks(limit=9, user=1), []),
        (ListTasks(limit=9, states=(TaskState.QUEUED,)), [6]),
        (ListTasks(limit=9, states=(TaskState.FAILED, TaskState.STARTING)), []),
        (ListTasks(limit=9, labels=("hw=4",)), [6]),
        (ListTasks(limit=9, labels=("hw=5",)), []),
        (ListTasks(limit=9, held=True), []),
        (ListTasks(limit=9, reasons=(Reason.OK,)), []),
        (ListTasks(limit=9, created=(NOON, None)), [6]),
        (ListTasks(limit=9, created=(None, NOON)), []),
        (ListTasks(limit=9, sort=SortKey.FINISHED_AT), []),
        (ListTasks(limit=9, count=True), [6]),
    ],
)
async def test_a_whole_id_is_found_where_the_other_filters_hold(
    store: Store, narrow: ListTasks, expected: list[int]
) -> None:
    ids = await named(store)
    found = await pages(store, replace(narrow, words=(ids[6].upper(),)))
    assert [task for page in found for task in page] == [ids[n] for n in expected]


async def test_a_whole_id_of_what_has_ended_is_found_in_both_orders(store: Store) -> None:
    ids = await filled(store)
    for sort in (SortKey.CREATED_AT, SortKey.FINISHED_AT):
        for n in (0, 2):
            assert await pages(store, ListTasks(limit=1, sort=sort, words=(ids[n],))) == [[ids[n]]]


async def test_a_list_is_counted_where_an_index_can(store: Store) -> None:
    await filled(store)
    for query, total in (
        (ListTasks(limit=1), 5),
        (ListTasks(limit=1, user=0), 3),
        (ListTasks(limit=1, states=(TaskState.SUCCEEDED, TaskState.QUEUED)), 3),
        (ListTasks(limit=1, labels=("hw=3",)), 2),
        (ListTasks(limit=1, sort=SortKey.FINISHED_AT), 3),
        (ListTasks(limit=1, created=(NOON + SECOND, None)), 4),
    ):
        found = await store.tasks.list_tasks(replace(query, count=True))
        assert (found.total, found.total_is_exact) == (total, True)
        assert (await store.tasks.list_tasks(query)).total is None


# ---- what a page costs ----------------------------------------------------------------------

#: Of a window, here; the cost does not depend on how many there are, and making them does.
WINDOW = 50
#: More than one request may look at.
MANY = WINDOW * WINDOWS + 70


@pytest.fixture
def narrow_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WINDOW_DOCS", WINDOW)


async def many(store: MongoStore) -> None:
    """Ended tasks of one user, on one executor, none of which has a label or a name."""
    [model] = [labelled(0)]
    await store.dispatch.accept(model)
    assert await store.dispatch.lease_if_queued(lease_item(model.id, lease=a_lease("e1")))
    item = FinishItem(id=model.id, attempt=AttemptNo(1), outcome=OK, at=NOON)
    await store.dispatch.finish_if_attempt(item)
    tasks = store.database["tasks"]
    await tasks.aggregate(
        [
            {"$limit": 1},
            {"$set": {"n": {"$range": [1, MANY]}}},
            {"$unwind": "$n"},
            {
                "$set": {
                    "_id": {
                        "$toObjectId": {
                            "$concat": [
                                "65e1c4c0",
                                {
                                    "$substrBytes": [
                                        {
                                            "$concat": [
                                                "0" * 16,
                                                {"$toString": "$n"},
                                            ]
                                        },
                                        {"$strLenBytes": {"$toString": "$n"}},
                                        16,
                                    ]
                                },
                            ]
                        }
                    },
                    "submitted_at": {"$add": ["$submitted_at", "$n"]},
                    "done_at": {"$add": ["$done_at", "$n"]},
                }
            },
            {"$unset": "n"},
            {"$merge": "tasks"},
        ]
    )


@pytest.mark.usefixtures("narrow_windows")
@pytest.mark.parametrize(
    "narrow",
    [
        lambda query: query,
        lambda query: replace(query, user=0),
        lambda query: replace(query, user=0, reasons=(Reason.MEMORY,)),
        lambda query: replace(query, reasons=(Reason.MEMORY,)),
        lambda query: replace(query, states=(TaskState.SUCCEEDED,), name="x"),
        lambda query: replace(query, states=(TaskState.FAILED, TaskState.QUEUED)),
        lambda query: replace(query, node=ExecutorName("e9")),
        lambda query: replace(query, name="x"),
        lambda query: replace(query, words=("x", "hw=3")),
        lambda query: replace(query, words=("65e1c4",)),
        lambda query: replace(query, words=("ffffff",)),
        lambda query: replace(query, words=("65e1c4c00000000000000007",)),
        lambda query: replace(query, words=("f" * 24,), states=(TaskState.FAILED,)),
        lambda query: replace(query, labels=("hw=3",)),
        lambda query: replace(query, sort=SortKey.FINISHED_AT),
        lambda query: replace(query, sort=SortKey.FINISHED_AT, user=9),
        lambda query: replace(query, id_prefix="65e1c4"),
        lambda query: replace(query, id_prefix="ffffff"),
        lambda query: replace(query, finished=(None, NOON)),
    ],
)
async def test_a_page_looks_at_a_bounded_part(
    mongo: MongoStore, narrow: Callable[[ListTasks], ListTasks]
) -> None:
    await many(mongo)
    query = narrow(ListTasks(limit=50, count=True))
    database = mongo.database
    await database.command("profile", 2)
    try:
        found = await mongo.tasks.list_tasks(query)
    finally:
        await database.command("profile", 0)
    profile = database["system.profile"]
    done = await profile.find({"ns": f"{database.name}.tasks", "op": {"$ne": "insert"}}).to_list()
    await profile.drop()
    assert done
    assert all("COLLSCAN" not in each.get("planSummary", "") for each in done)
    # The windows, each once for its end and once for what is in it, and a page.
    assert sum(each.get("docsExamined", 0) for each in done) <= 2 * WINDOW * WINDOWS + 100
    assert len(found.tasks) == 50 or found.more or found.next is None


@pytest.mark.usefixtures("narrow_windows")
async def test_a_filter_that_nothing_matches_comes_to_an_end(mongo: MongoStore) -> None:
    await many(mongo)
    found = await pages(mongo, ListTasks(limit=50, name="x"))
    assert [page for page in found if page] == []
    assert len(found) == 2
    assert await pages(mongo, ListTasks(limit=50, words=("x", "hw=3", "ffffff"))) == [[], []]
    # What is named by its whole id is not looked for, however far back it is.
    oldest = TaskId("65e1c4c0" + "1".zfill(16))
    assert await pages(mongo, ListTasks(limit=50, words=(oldest,))) == [[oldest]]
    forward = await pages(mongo, ListTasks(limit=500, node=ExecutorName("e1")))
    backward = await pages(mongo, ListTasks(limit=500, node=ExecutorName("e1"), oldest_first=True))
    ids = [task for page in forward for task in page]
    assert len(ids) == len(set(ids)) == MANY
    assert [task for page in backward for task in page] == ids[::-1]
