"""Searches as KV2's clients make them, on MongoDB and on the dictionary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from khala.model import limits
from khala.model.statements import NewTask
from khala.model.task import TaskState
from khala.protocol.rpc import SearchTasks
from khala.store import memory_reads, task_reads
from tests.store.conftest import Store
from tests.store.samples import FAILURE, a_lease, a_task, finish_item

NOON = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)


async def filled(store: Store) -> list[NewTask]:
    """Ten tasks a millisecond apart, of two users, oldest first."""
    tasks = [
        a_task(n % 2, submitted_at=NOON + timedelta(milliseconds=n), lease=a_lease())
        for n in range(10)
    ]
    for task in reversed(tasks):
        await store.dispatch.accept(task)
    return tasks


async def ids(store: Store, query: SearchTasks) -> list[str]:
    return [brief.id for brief in (await store.tasks.search(query)).tasks]


async def test_newest_first_unless_asked_otherwise(store: Store) -> None:
    tasks = [task.id for task in await filled(store)]
    assert await ids(store, SearchTasks()) == tasks[::-1]
    assert await ids(store, SearchTasks(oldest_first=True)) == tasks


async def test_pages_know_the_total(store: Store) -> None:
    tasks = [task.id for task in await filled(store)]
    page = await store.tasks.search(SearchTasks(oldest_first=True, offset=8, limit=4))
    assert ([brief.id for brief in page.tasks], page.total) == (tasks[8:], 10)
    past = await store.tasks.search(SearchTasks(offset=40, limit=4))
    assert (past.tasks, past.total) == ([], 10)


async def test_times_are_inclusive_to_the_millisecond(store: Store) -> None:
    tasks = [task.id for task in await filled(store)]
    start, end = NOON + timedelta(milliseconds=3), NOON + timedelta(milliseconds=6)
    query = SearchTasks(start=start, end=end, oldest_first=True)
    assert await ids(store, query) == tasks[3:7]
    assert await ids(store, SearchTasks(start=NOON + timedelta(seconds=1))) == []


async def test_by_user_and_by_id(store: Store) -> None:
    tasks = await filled(store)
    page = await store.tasks.search(SearchTasks(user=1, limit=2))
    assert (page.total, {brief.user for brief in page.tasks}) == (5, {1})
    assert await ids(store, SearchTasks(id=tasks[4].id)) == [tasks[4].id]
    assert await ids(store, SearchTasks(id=tasks[4].id, user=1)) == []


async def test_a_row_tells_the_state_without_the_bytes(store: Store) -> None:
    tasks = await filled(store)
    await store.dispatch.finish_if_attempt(finish_item(tasks[0].id, outcome=FAILURE))
    rows = (await store.tasks.search(SearchTasks(oldest_first=True, limit=2))).tasks
    assert rows[0].state is TaskState.FAILED
    assert (rows[0].stage, rows[0].reason) == (FAILURE.stage, FAILURE.reason)
    assert (rows[1].state, rows[1].executor) == (TaskState.STARTING, "e1")


async def test_no_limit_means_the_highest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.LIST_LIMIT_MAX >= 1000
    for module in (memory_reads, task_reads):
        monkeypatch.setattr(module, "LIST_LIMIT_MAX", 3)
    await filled(store)
    for limit in (0, 5):
        page = await store.tasks.search(SearchTasks(limit=limit))
        assert (len(page.tasks), page.total) == (3, 10)
