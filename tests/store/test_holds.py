"""Tasks that are held, on MongoDB and on the dictionary."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from khala.model.depends import On, Predecessor
from khala.model.errors import AlreadyDone
from khala.model.holds import Hold, HoldKey
from khala.model.ids import AttemptNo, ExecutorName, SessionNo, mint_task_id
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.quota import QUOTA
from khala.model.statements import (
    ExpiredTask,
    Lift,
    NewTask,
    RequeueItem,
    waited_too_long,
)
from khala.model.task import Dispatch, TaskState
from khala.protocol.rpc import ListTasks
from khala.store.dates import to_ms, utc_now
from tests.store.conftest import Store
from tests.store.samples import a_lease, a_spec, a_task, finish_item, lease_item

A, B = HoldKey("after:a"), HoldKey("after:b$c")
ENDED = Outcome(ending=Ending.ERROR, reason=Reason.INTERNAL, note="it waited in vain")
SOON, PAST = timedelta(hours=1), timedelta(hours=-1)


async def held(store: Store, *keys: HoldKey, until: timedelta | None = None) -> NewTask:
    date = None if until is None else utc_now() + until
    task = NewTask(
        id=mint_task_id(),
        spec=a_spec(),
        submitted_at=utc_now(),
        hold=Hold(until=date, keys=keys),
    )
    await store.dispatch.accept(task)
    return task


async def test_what_is_held_is_not_to_be_had(store: Store) -> None:
    task = await held(store, A, until=SOON)
    read = await store.tasks.get(task.id)
    assert task.hold is not None and task.hold.until is not None
    assert (read.dispatch, read.state) == (Dispatch.HELD, TaskState.QUEUED)
    assert read.hold == Hold(until=to_ms(task.hold.until), keys=(A,))
    assert await store.dispatch.find_queued("gcc-13", 9, -1.0) == []
    assert not await store.dispatch.lease_if_queued(lease_item(task.id))
    assert not await store.dispatch.adopt_if_attempt(task.id, read.attempt, a_lease())
    counts = await store.tasks.counts()
    assert (counts.queued, counts.held, counts.leased) == (0, 1, 0)


async def test_clients_see_it_as_queued(store: Store) -> None:
    task, waiting = await held(store, A), a_task()
    await store.dispatch.accept(waiting)
    found = await store.tasks.list_tasks(ListTasks(states=(TaskState.QUEUED,), limit=9))
    assert {row.id for row in found.tasks} == {task.id, waiting.id}
    assert {row.state for row in found.tasks} == {TaskState.QUEUED}


async def test_the_last_condition_that_is_lifted_queues_it(store: Store) -> None:
    task = await held(store, A, B)
    await store.dispatch.lift_if_held([Lift(id=task.id, key=B)])
    assert (await store.tasks.get(task.id)).hold == Hold(keys=(A,))
    await store.dispatch.lift_if_held([Lift(id=task.id, key=B)])
    assert (await store.tasks.get(task.id)).dispatch is Dispatch.HELD
    await store.dispatch.lift_if_held([Lift(id=task.id, key=A)])
    read = await store.tasks.get(task.id)
    assert (read.dispatch, read.hold, read.attempt) == (Dispatch.QUEUED, None, 0)
    assert [each.id for each in await store.dispatch.find_queued("gcc-13", 9, -1.0)] == [task.id]


async def test_a_date_is_lifted_when_it_has_come(store: Store) -> None:
    later, due, both = [
        await held(store, until=SOON),
        await held(store, until=PAST),
        await held(store, A, until=2 * PAST),
    ]
    assert await store.dispatch.find_due(9) == [both.id, due.id]
    assert await store.dispatch.find_due(1) == [both.id]
    await store.dispatch.lift_if_held([Lift(id=each.id) for each in (later, due, both)])
    states = [(await store.tasks.get(each.id)).dispatch for each in (later, due, both)]
    assert states == [Dispatch.HELD, Dispatch.QUEUED, Dispatch.HELD]
    assert await store.dispatch.find_due(9) == []
    await store.dispatch.lift_if_held([Lift(id=both.id, key=A)])
    assert (await store.tasks.get(both.id)).dispatch is Dispatch.QUEUED


async def test_a_date_still_holds_what_waits_for_nothing_else(store: Store) -> None:
    task = await held(store, A, until=SOON)
    await store.dispatch.lift_if_held([Lift(id=task.id, key=A)])
    read = await store.tasks.get(task.id)
    assert read.dispatch is Dispatch.HELD
    assert read.hold is not None and (read.hold.keys, read.hold.until is None) == ((), False)


async def test_a_lift_does_nothing_to_what_is_not_held(store: Store) -> None:
    leased, done, absent = a_task(lease=a_lease()), a_task(lease=a_lease()), a_task()
    for task in (leased, done):
        await store.dispatch.accept(task)
    await store.dispatch.finish_if_attempt(finish_item(done.id))
    before = [await store.tasks.get(task.id) for task in (leased, done)]
    lifts = [Lift(id=task.id, key=key) for task in (leased, done, absent) for key in (A, None)]
    await store.dispatch.lift_if_held(lifts)
    assert [await store.tasks.get(task.id) for task in (leased, done)] == before


async def test_many_lift_at_once(judicators: list[Store]) -> None:
    """Two of three see the last condition but one; nobody may leave the task behind."""
    keys = [HoldKey(f"after:{n}") for n in range(6)]
    tasks = [await held(judicators[0], *keys) for _ in range(20)]
    await asyncio.gather(
        *(
            judicators[n % 3].dispatch.lift_if_held([Lift(id=task.id, key=key) for task in tasks])
            for n, key in enumerate(keys * 2)
        )
    )
    counts = await judicators[0].tasks.counts()
    assert (counts.queued, counts.held) == (20, 0)


async def test_what_is_held_can_be_cancelled(store: Store) -> None:
    task = await held(store, A)
    result = await store.dispatch.cancel_if_open(task.id)
    assert (result.before, result.brief.state) == (None, TaskState.CANCELLED)
    await store.dispatch.lift_if_held([Lift(id=task.id, key=A)])
    read = await store.tasks.get(task.id)
    assert (read.state, read.hold) == (TaskState.CANCELLED, None)
    with pytest.raises(AlreadyDone):
        await store.dispatch.cancel_if_open(task.id)


async def test_what_waits_can_be_ended_and_nothing_else(store: Store) -> None:
    waiting, leased = a_task(), a_task(lease=a_lease())
    for task in (waiting, leased):
        await store.dispatch.accept(task)
    on_hold = await held(store, A)
    ended = [await store.dispatch.end_if_waiting(t.id, ENDED) for t in (waiting, on_hold, leased)]
    assert ended == [True, True, False]
    assert not await store.dispatch.end_if_waiting(waiting.id, ENDED)
    assert not await store.dispatch.end_if_waiting(mint_task_id(), ENDED)
    for task in (waiting, on_hold):
        read = await store.tasks.get(task.id)
        assert (read.outcome, read.result_attempt, read.hold) == (ENDED, None, None)
    assert (await store.tasks.get(leased.id)).state is TaskState.STARTING


async def test_what_waits_for_one_thing_is_found(store: Store) -> None:
    first, second = await held(store, A), await held(store, B, A)
    await held(store, B)
    assert await store.holds.find_held(A, 9) == [first.id, second.id]
    assert await store.holds.find_held(A, 1) == [first.id]
    assert await store.holds.find_held(HoldKey("after:"), 9) == []


async def test_a_sweep_sees_all_that_waits_for_others_and_nothing_else(store: Store) -> None:
    first_of, last_of = (Predecessor(id=mint_task_id(), on=on).key for on in (On.ANY, On.OK))
    tasks = [
        await held(store, first_of),
        await held(store, first_of, QUOTA, until=SOON),
        await held(store, QUOTA, last_of),
    ]
    await held(store, QUOTA)
    await held(store, until=SOON)
    await store.dispatch.accept(a_task())
    first = await store.holds.page_dependents(None, 2)
    assert [each.id for each in first] == [task.id for task in tasks[:2]]
    [last] = await store.holds.page_dependents(first[-1].id, 2)
    assert (last.id, last.hold) == (tasks[2].id, Hold(keys=(QUOTA, last_of)))


async def limited(store: Store, wait_s: float, *, on_hold: bool = False) -> NewTask:
    """Submitted a minute ago."""
    task = NewTask(
        id=mint_task_id(),
        spec=replace(a_spec(), queue_ttl_s=wait_s),
        submitted_at=utc_now() - timedelta(minutes=1),
        hold=Hold(keys=(A,)) if on_hold else None,
    )
    await store.dispatch.accept(task)
    return task


async def test_what_has_waited_too_long_is_found_the_earliest_first(store: Store) -> None:
    later, first = await limited(store, 30), await limited(store, 10, on_hold=True)
    await limited(store, 3600)
    await store.dispatch.accept(a_task())
    expected = [
        ExpiredTask(id=first.id, queue_ttl_s=10),
        ExpiredTask(id=later.id, queue_ttl_s=30),
    ]
    assert await store.dispatch.find_expired(9) == expected
    assert await store.dispatch.find_expired(1) == expected[:1]
    for task in (later, first):
        assert await store.dispatch.end_if_waiting(task.id, waited_too_long(1))
    assert await store.dispatch.find_expired(9) == []


async def test_what_has_begun_does_not_wait_any_more(store: Store) -> None:
    """Also when its first attempt is lost: it waits for another, as long as that takes."""
    task = await limited(store, 10)
    await store.dispatch.lease_if_queued(lease_item(task.id))
    assert await store.dispatch.find_expired(9) == []
    assert not await store.dispatch.end_if_waiting(task.id, ENDED)
    lost = RequeueItem(
        id=task.id,
        attempt=AttemptNo(1),
        executor=ExecutorName("e1"),
        session=SessionNo(1),
        crash=True,
    )
    await store.dispatch.requeue_if_leased_by(lost)
    assert await store.dispatch.find_expired(9) == []
    assert not await store.dispatch.end_if_waiting(task.id, ENDED)
    assert (await store.tasks.get(task.id)).dispatch is Dispatch.QUEUED
