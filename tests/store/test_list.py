"""Pages by a place in the order, on MongoDB and on the dictionary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from khala.model.ids import TaskId
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.statements import ProgressItem
from khala.model.task import Progress, TaskState
from khala.protocol.rpc import ListTasks
from tests.store.conftest import Store
from tests.store.samples import FAILURE, SUCCESS, a_lease, a_task, finish_item

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def filled(store: Store) -> list[TaskId]:
    """Nine tasks, three of each millisecond, oldest first."""
    tasks = sorted(
        (a_task(n % 2, submitted_at=NOON + timedelta(milliseconds=n // 3)) for n in range(9)),
        key=lambda task: (task.submitted_at, task.id),
    )
    for task in reversed(tasks):
        await store.dispatch.accept(task)
    return [task.id for task in tasks]


async def pages(store: Store, query: ListTasks) -> list[list[TaskId]]:
    """All of them, each asked for with the last task of the one before."""
    found: list[list[TaskId]] = []
    while True:
        page = await store.tasks.list_tasks(query)
        found.append([task.id for task in page.tasks])
        if not page.more:
            return found
        query = msgspec.structs.replace(query, after=page.next)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 8, 9, 10])
@pytest.mark.parametrize("oldest_first", [True, False])
async def test_pages_show_everything_once(store: Store, limit: int, oldest_first: bool) -> None:
    tasks = await filled(store)
    expected = tasks if oldest_first else tasks[::-1]
    found = await pages(store, ListTasks(limit=limit, oldest_first=oldest_first))
    assert [task for page in found for task in page] == expected
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert found[-1]


async def test_a_new_task_moves_no_row(store: Store) -> None:
    tasks = await filled(store)
    first = await store.tasks.list_tasks(ListTasks(limit=4))
    await store.dispatch.accept(a_task(submitted_at=NOON + timedelta(seconds=1)))
    second = await store.tasks.list_tasks(ListTasks(limit=5, after=first.next))
    assert [task.id for task in (*first.tasks, *second.tasks)] == tasks[::-1]


async def test_by_user_and_time(store: Store) -> None:
    tasks = await filled(store)
    second = NOON + timedelta(milliseconds=1)
    query = ListTasks(limit=9, oldest_first=True, created=(second, second))
    assert await pages(store, query) == [tasks[3:6]]
    found = await store.tasks.list_tasks(ListTasks(limit=2, user=1))
    assert {task.user for task in found.tasks} == {1}
    assert found.more


async def test_by_state(store: Store) -> None:
    endings = {TaskState(ending): Outcome(ending=ending, reason=Reason.OK) for ending in Ending}
    endings[TaskState.SUCCEEDED], endings[TaskState.FAILED] = SUCCESS, FAILURE
    expected: dict[TaskState, TaskId] = {}
    for state, outcome in endings.items():
        task = a_task(lease=a_lease())
        await store.dispatch.accept(task)
        await store.dispatch.finish_if_attempt(finish_item(task.id, outcome=outcome))
        expected[state] = task.id
    for state in (TaskState.STARTING, TaskState.COMPILING, TaskState.RUNNING):
        task = a_task(lease=a_lease())
        await store.dispatch.accept(task)
        if state is not TaskState.STARTING:
            item = ProgressItem(
                id=task.id, attempt=finish_item(task.id).attempt, progress=Progress(state)
            )
            await store.dispatch.progress_if_leased(item)
        expected[state] = task.id
    waiting = a_task()
    await store.dispatch.accept(waiting)
    expected[TaskState.QUEUED] = waiting.id
    assert set(expected) == set(TaskState)
    for state, task_id in expected.items():
        found = await store.tasks.list_tasks(ListTasks(limit=9, states=(state,)))
        assert [(task.id, task.state) for task in found.tasks] == [(task_id, state)]
    both = ListTasks(limit=9, states=(TaskState.QUEUED, TaskState.FAILED))
    assert len((await store.tasks.list_tasks(both)).tasks) == 2


async def test_the_oldest_queued_task_is_known_over_all_images(store: Store) -> None:
    assert await store.tasks.oldest_queued() is None
    await filled(store)
    assert await store.tasks.oldest_queued() == NOON
    plain = a_task(submitted_at=NOON - timedelta(seconds=1))
    bare = msgspec.structs.replace(plain, spec=msgspec.structs.replace(plain.spec, image=""))
    await store.dispatch.accept(bare)
    assert await store.tasks.oldest_queued() == bare.submitted_at
