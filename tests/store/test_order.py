"""What waits, and in which order it is found, on MongoDB and on the dictionary."""

from __future__ import annotations

from datetime import timedelta

from khala.model.ids import mint_task_id
from khala.model.order import AGEING_S
from khala.model.statements import NewTask
from khala.model.wants import Wants
from khala.store.dates import utc_now
from tests.store.conftest import Store
from tests.store.samples import a_spec, a_task


async def test_the_longest_waiting_are_found_first(store: Store) -> None:
    now = utc_now()
    tasks = [a_task(submitted_at=now - timedelta(seconds=age)) for age in (5, 50, 500, 0)]
    for task in tasks:
        await store.dispatch.accept(task)
    found = await store.dispatch.find_queued("gcc-13", 2, 1.0)
    assert [candidate.id for candidate in found] == [tasks[2].id, tasks[1].id]
    assert found[0].spec == tasks[2].spec
    assert len(await store.dispatch.find_queued("gcc-13", 9, 1.0)) == 3


async def test_what_a_wrong_date_was_given_does_not_wait_for_that_date(store: Store) -> None:
    now = utc_now()
    for hours in (0, 1, -1):
        await store.dispatch.accept(a_task(submitted_at=now + timedelta(hours=hours)))
    assert len(await store.dispatch.find_queued("gcc-13", 9, 1.0)) == 2


async def test_a_point_of_priority_is_worth_its_seconds(store: Store) -> None:
    now = utc_now()
    ages = {0: 0.0, 2: -1.5 * AGEING_S, -1: 1.5 * AGEING_S, 1: -2 * AGEING_S}
    tasks = {
        priority: a_task(submitted_at=now - timedelta(seconds=1000 + age), priority=priority)
        for priority, age in ages.items()
    }
    for task in tasks.values():
        await store.dispatch.accept(task)
    found = await store.dispatch.find_queued("gcc-13", 9, 1.0)
    assert [each.spec.priority for each in found] == [-1, 2, 0, 1]
    assert [each.place[2] for each in found] == [tasks[each].id for each in (-1, 2, 0, 1)]


async def test_a_row_of_a_list_has_the_name(store: Store) -> None:
    task = a_task()
    await store.dispatch.accept(task)
    [row] = await store.tasks.load_briefs([task.id])
    assert row.name == "a+b"


async def test_shapes_that_wait_are_found_by_their_first(store: Store) -> None:
    gpu, zone = Wants(amounts={"gpu": 1}), Wants(require={"zone": "a"}, avoid={"x.y": "$z"})
    specs = [
        a_spec(image="", wants=gpu),
        a_spec(image="", wants=gpu, priority=1),
        a_spec(wants=gpu),
        a_spec(wants=zone),
        a_spec(image=""),
        a_spec(),
    ]
    tasks = [NewTask(id=mint_task_id(), spec=spec, submitted_at=utc_now()) for spec in specs]
    await store.tasks.insert_if_new(tasks)
    found = await store.dispatch.find_shapes("", 9)
    assert [each.spec.shape for each in found] == sorted(
        {spec.shape for spec in [*specs[1:4], specs[5]]}
    )
    assert {each.id for each in found} == {tasks[n].id for n in (1, 2, 3, 5)}
    first = await store.dispatch.find_shapes("", 2)
    rest = await store.dispatch.find_shapes(first[-1].spec.shape, 9)
    assert [each.id for each in first + rest] == [each.id for each in found]
    for spec in specs[1:4]:
        assert (await store.dispatch.find_queued(spec.shape, 1, -1.0))[0].spec == spec


async def test_each_image_has_a_queue_of_its_own(store: Store) -> None:
    plain, other, mine = a_task(image=""), a_task(image="gcc-14"), a_task(image="gcc-13")
    for task in (plain, other, mine):
        await store.dispatch.accept(task)
    for task in (plain, other, mine):
        [found] = await store.dispatch.find_queued(task.spec.image, 9, -1.0)
        assert (found.id, found.spec.image) == (task.id, task.spec.image)
    assert await store.dispatch.find_queued("gcc", 9, -1.0) == []
