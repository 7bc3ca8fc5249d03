"""Lists by priority: the same on both stores, along an index that tasks without one are not in."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from khala.model.holds import RELEASE, Hold
from khala.model.patch import Patch
from khala.model.statements import NewTask
from khala.model.task import TaskBrief, TaskState
from khala.protocol import v2
from khala.protocol.rpc import ListTasks, SortKey
from khala.store import listing, priorities
from khala.store.mongo import MongoStore
from khala.store.priorities import LEVELS
from roles.gateway.cursors import read_cursor
from roles.gateway.queries import parse_query
from roles.gateway.v2_list import ListQuery, list_of, page_of
from tests.store.conftest import Store
from tests.store.samples import FAILURE, SUCCESS, a_lease, a_task, finish_item, lease_item
from tests.store.test_filters import WINDOW, narrow_windows
from tests.store.test_list import pages
from tests.store.test_patches import patched

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BY_PRIORITY = ListTasks(limit=50, sort=SortKey.PRIORITY)
__all__ = ["narrow_windows"]
PRIORITIES = (-100, -3, 0, 0, 0, 7, 8, 100)


def of_priority(priority: int, n: int = 0, user: int = 0) -> NewTask:
    """Three of each millisecond."""
    task = a_task(user, submitted_at=NOON + timedelta(milliseconds=n // 3))
    return replace(task, spec=replace(task.spec, priority=priority, name=f"p{priority}"))


async def filled(store: Store) -> list[TaskBrief]:
    """Of each priority some that wait, are held, run, succeeded and failed."""
    ways = ("queued", "held", "leased", "succeeded", "failed")
    chance = random.Random(2)
    made = [*product(ways, PRIORITIES)]
    chance.shuffle(made)
    for n, (way, priority) in enumerate(made):
        task = of_priority(priority, n, user=n % 2)
        if way == "held":
            task = replace(task, hold=Hold(keys=(RELEASE,)))
        await store.dispatch.accept(task)
        if way in ("leased", "succeeded", "failed"):
            assert await store.dispatch.lease_if_queued(lease_item(task.id, lease=a_lease()))
        if way in ("succeeded", "failed"):
            outcome = SUCCESS if way == "succeeded" else FAILURE
            await store.dispatch.finish_if_attempt(finish_item(task.id, outcome=outcome))
    return (await store.tasks.list_tasks(ListTasks(limit=100))).tasks


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"user": 1},
        {"states": (TaskState.QUEUED,)},
        {"states": (TaskState.STARTING,)},
        {"states": (TaskState.FAILED,)},
        {"states": (TaskState.SUCCEEDED, TaskState.QUEUED)},
        {"held": True},
        {"held": False, "states": (TaskState.QUEUED,)},
        {"held": True, "states": (TaskState.FAILED,)},
        {"name": "p7"},
        {"created": (NOON + timedelta(milliseconds=4), NOON + timedelta(milliseconds=9))},
        {"finished": (NOON, None)},
    ],
    ids=str,
)
async def test_the_highest_first_and_of_each_the_latest(
    store: Store, given: dict[str, Any]
) -> None:
    await filled(store)
    query = replace(BY_PRIORITY, **given)
    same = await store.tasks.list_tasks(replace(query, sort=SortKey.CREATED_AT))
    expected = sorted(same.tasks, key=lambda row: -row.priority)
    assert (len(expected) == 0) is (given == {"held": True, "states": (TaskState.FAILED,)})
    for limit in (1, 3, 50):
        found = await pages(store, replace(query, limit=limit))
        assert [task for page in found for task in page] == [row.id for row in expected]


async def test_every_page_back_is_the_page_forth(store: Store) -> None:
    rows = await filled(store)
    for oldest_first in (False, True):
        forth = replace(BY_PRIORITY, limit=7, oldest_first=oldest_first)
        back = replace(forth, oldest_first=not oldest_first, lowest_first=True)
        ids = [task for page in await pages(store, forth) for task in page]
        assert sorted(ids) == sorted(row.id for row in rows)
        assert [task for page in await pages(store, back) for task in page] == ids[::-1]


async def test_it_is_counted_as_the_same_by_date(store: Store) -> None:
    rows = await filled(store)
    found = await store.tasks.list_tasks(replace(BY_PRIORITY, limit=1, count=True))
    assert (found.total, found.total_is_exact) == (len(rows), True)


async def test_a_priority_that_is_changed_is_another_place(store: Store) -> None:
    tasks = [of_priority(priority) for priority in (5, 0, -5)]
    for task, priority in zip(tasks, (0, 9, 0), strict=True):
        await store.dispatch.accept(task)
        await patched(store, task.id, Patch(priority=priority))
    expected = [tasks[1].id, *sorted((tasks[0].id, tasks[2].id), reverse=True)]
    assert await pages(store, BY_PRIORITY) == [expected]


@pytest.mark.usefixtures("narrow_windows")
@pytest.mark.parametrize(
    "given",
    [
        {"order": "oldest"},
        {"order": "newest", "name": "p7"},
        {"order": "newest", "q": "nobody"},
    ],
    ids=str,
)
async def test_cursors_lead_forth_and_back_over_empty_pages(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    """From wherever one turns round, to either end, each row is shown once."""
    monkeypatch.setattr(priorities, "LEVELS", 2)
    await filled(mongo)
    given = {**given, "sort": "priority", "limit": "5"}
    query = parse_query(given, ListQuery)

    async def page(cursor: str | None) -> v2.Page:
        at = None if cursor is None else read_cursor(cursor, given)
        found = await mongo.tasks.list_tasks(list_of(query, at))
        return page_of(found, query, at, given)

    async def walk(cursor: str | None, *, back: bool) -> list[v2.Page]:
        seen = [await page(cursor)]
        while (cursor := seen[-1].prev_cursor if back else seen[-1].next_cursor) is not None:
            seen.append(await page(cursor))
            assert len(seen) < 200
        return seen

    def ids(seen: list[v2.Page]) -> list[str]:
        return [row.id for each in seen for row in each.items]

    forth = await walk(None, back=False)
    rows = ids(forth)
    assert len(rows) == len(set(rows))
    for n, each in enumerate(forth[1:], 1):
        assert each.prev_cursor is not None
        before = await walk(each.prev_cursor, back=True)
        assert ids(before[::-1]) == ids(forth[:n])
        for turned in before:
            if turned.next_cursor is not None and turned.items:
                again = await walk(turned.next_cursor, back=False)
                assert ids(again) == rows[rows.index(turned.items[-1].id) + 1 :]


# ---- what a page costs ----------------------------------------------------------------------


async def test_priorities_that_have_nothing_to_show_are_passed_in_portions(
    mongo: MongoStore,
) -> None:
    for n in range(3 * LEVELS):
        await mongo.dispatch.accept(of_priority(n + 1))
    found = await pages(mongo, replace(BY_PRIORITY, name="nobody"))
    # That of tasks without one is passed as well.
    assert found == [[]] * 4
    forth = await pages(mongo, replace(BY_PRIORITY, name="p1", limit=1))
    back = await pages(mongo, replace(BY_PRIORITY, name="p1", limit=1, lowest_first=True))
    names = [len(page) for page in forth if page], [len(page) for page in back if page]
    assert names == ([1] * 11, [1] * 11)


async def test_windows_are_shared_by_the_priorities_of_a_request(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "WINDOW_DOCS", 2)
    for n in range(20):
        await mongo.dispatch.accept(of_priority(n % 2))
    found = await pages(mongo, replace(BY_PRIORITY, name="nobody"))
    # Five windows of those that have one, and ten of all for the others: four at a time.
    assert found == [[]] * 4
    named = await pages(mongo, replace(BY_PRIORITY, name="p1", limit=3))
    assert sum(len(page) for page in named) == 10


@pytest.mark.usefixtures("narrow_windows")
async def test_no_page_looks_at_everything(mongo: MongoStore) -> None:
    for n in range(300):
        await mongo.dispatch.accept(of_priority(0, n))
    for n in range(3):
        await mongo.dispatch.accept(of_priority(n + 1))
    database = mongo.database
    await database.command("profile", 2)
    try:
        first = await mongo.tasks.list_tasks(replace(BY_PRIORITY, limit=5))
        await mongo.tasks.list_tasks(replace(BY_PRIORITY, limit=5, after=first.next))
    finally:
        await database.command("profile", 0)
    profile = database["system.profile"]
    done = await profile.find({"planSummary": {"$exists": True}}).to_list()
    await profile.drop()
    assert not any("COLLSCAN" in each["planSummary"] for each in done)
    assert not any(each.get("hasSortStage") for each in done)
    # The end of a window, which is found among all of them, and what is shown.
    assert sum(each.get("docsExamined", 0) for each in done) <= 2 * WINDOW + 20
