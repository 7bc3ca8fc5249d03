"""Tasks that a person changes, on MongoDB and on the dictionary."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from khala.model.errors import NotFound
from khala.model.holds import RELEASE, Hold, HoldKey
from khala.model.ids import AttemptNo, JobId, TaskId, mint_nonce, mint_task_id
from khala.model.job import hold_key
from khala.model.patch import Patch
from khala.model.statements import (
    FinishResult,
    Lift,
    NewTask,
    PatchItem,
    RequeueItem,
    RetryItem,
)
from khala.model.task import Dispatch, Task, TaskState, brief_of
from khala.protocol.rpc import ListTasks
from khala.store.dates import to_ms, utc_now
from tests.store.conftest import Store
from tests.store.samples import (
    FAILURE,
    a_lease,
    a_spec,
    a_task,
    finish_item,
    lease_item,
)

OTHER = HoldKey("after:a")


async def accepted(store: Store, hold: Hold | None = None, priority: int = 0) -> TaskId:
    task = NewTask(
        id=mint_task_id(), spec=a_spec(priority=priority), submitted_at=utc_now(), hold=hold
    )
    await store.dispatch.accept(task)
    return task.id


async def item_of(store: Store, task: TaskId, patch: Patch) -> PatchItem:
    return patch.item(await store.tasks.get(task), mint_nonce())


async def patched(store: Store, task: TaskId, patch: Patch) -> Task:
    changed = await store.dispatch.patch_if_next(await item_of(store, task, patch))
    assert changed is not None
    assert changed == await store.tasks.get(task)
    return changed


async def waiting(store: Store) -> list[TaskId]:
    return [each.id for each in await store.dispatch.find_queued("gcc-13", 9, -1.0)]


async def test_what_is_held_is_not_to_be_had_until_it_is_released(store: Store) -> None:
    task = await accepted(store)
    held = await patched(store, task, Patch(held=True))
    assert (held.dispatch, held.state) == (Dispatch.HELD, TaskState.QUEUED)
    assert held.hold == Hold(keys=(RELEASE,))
    [row] = (await store.tasks.list_tasks(ListTasks(limit=1))).tasks
    assert row == brief_of(held) and row.held
    assert not await store.dispatch.lease_if_queued(lease_item(task))
    assert await waiting(store) == []
    assert (await patched(store, task, Patch(held=True))).hold == Hold(keys=(RELEASE,))
    released = await patched(store, task, Patch(held=False))
    assert (released.dispatch, released.hold) == (Dispatch.QUEUED, None)
    assert await waiting(store) == [task]
    assert (await patched(store, task, Patch(held=False))).dispatch is Dispatch.QUEUED


async def test_a_person_holds_beside_whatever_else_does(store: Store) -> None:
    until = to_ms(utc_now() + timedelta(hours=1))
    task = await accepted(store, Hold(until=until, keys=(OTHER,)))
    held = await patched(store, task, Patch(held=True))
    assert held.hold == Hold(until=until, keys=(OTHER, RELEASE))
    await store.dispatch.lift_if_held([Lift(id=task, key=OTHER)])
    assert (await store.tasks.get(task)).hold == Hold(until=until, keys=(RELEASE,))
    assert (await patched(store, task, Patch(held=False))).hold == Hold(until=until)
    # As a lift of the last condition would have done it.
    due = await accepted(store, Hold(keys=(OTHER,)))
    await patched(store, due, Patch(held=True))
    await store.dispatch.lift_if_held([Lift(id=due, key=OTHER)])
    assert (await store.tasks.get(due)).dispatch is Dispatch.HELD
    await store.dispatch.lift_if_held([Lift(id=due, key=RELEASE)])
    assert (await store.tasks.get(due)).dispatch is Dispatch.QUEUED


async def test_the_pause_before_a_retry_is_held_and_goes_on(store: Store) -> None:
    task = await accepted(store)
    await store.dispatch.lease_if_queued(lease_item(task))
    due = utc_now() - timedelta(seconds=1)
    retry = RetryItem(id=task, attempt=AttemptNo(1), outcome=FAILURE, at=to_ms(due), until=due)
    assert await store.tasks.retry_if_attempt(retry)
    held = await patched(store, task, Patch(held=True))
    assert held.hold == Hold(until=to_ms(due), keys=(RELEASE,))
    await store.dispatch.lift_if_held([Lift(id=task)])
    assert (await store.tasks.get(task)).hold == Hold(keys=(RELEASE,))
    assert (await patched(store, task, Patch(held=False))).dispatch is Dispatch.QUEUED


async def test_a_late_result_counts_although_a_person_holds_it(store: Store) -> None:
    """Its executor was believed to be lost, and the number of the attempt stands."""
    for until in (None, utc_now() + timedelta(hours=1)):
        task = await accepted(store)
        lease = a_lease()
        await store.dispatch.lease_if_queued(lease_item(task, lease=lease))
        back = RequeueItem(
            id=task,
            attempt=AttemptNo(1),
            executor=lease.executor,
            session=lease.session,
            crash=False,
        )
        await store.dispatch.requeue_if_leased_by(back)
        await patched(store, task, Patch(held=True))
        assert not await store.dispatch.adopt_if_attempt(task, AttemptNo(1), a_lease())
        retry = RetryItem(
            id=task, attempt=AttemptNo(1), outcome=FAILURE, at=to_ms(utc_now()), until=until
        )
        assert await store.tasks.retry_if_attempt(retry)
        found = await store.tasks.get(task)
        assert (found.dispatch, found.retries) == (Dispatch.HELD, 1)
        assert found.hold == Hold(until=until and to_ms(until), keys=(RELEASE,))
        assert await store.tasks.retry_if_attempt(retry)
    task = await accepted(store)
    await store.dispatch.lease_if_queued(lease_item(task, lease=lease))
    await store.dispatch.requeue_if_leased_by(replace(back, id=task))
    await patched(store, task, Patch(held=True))
    assert await store.dispatch.finish_if_attempt(finish_item(task)) is FinishResult.RECORDED
    assert (await store.tasks.get(task)).hold is None


async def test_a_priority_moves_it(store: Store) -> None:
    first, second = await accepted(store), await accepted(store)
    assert await waiting(store) == [first, second]
    changed = await patched(store, second, Patch(priority=1))
    assert changed.spec == a_spec(priority=1)
    assert await waiting(store) == [second, first]
    await patched(store, second, Patch(priority=-1))
    assert await waiting(store) == [first, second]


async def test_labels_are_merged_and_found(store: Store) -> None:
    task = await accepted(store)
    changed = await patched(store, task, Patch(labels={"hw": None, "a.b/c-d": "$x.y"}, name="$n"))
    assert changed.spec.labels == {"course": "cs=101", "a.b/c-d": "$x.y"}
    assert changed.spec.name == "$n"
    for label, found in (("hw=3", []), ("a.b/c-d=$x.y", [task]), ("course=cs=101", [task])):
        rows = await store.tasks.list_tasks(ListTasks(labels=(label,), limit=9))
        assert [row.id for row in rows.tasks] == found
    bare = await patched(store, task, Patch(drops_labels=True, name=""))
    assert (bare.spec.labels, bare.spec.name) == ({}, "")
    rows = await store.tasks.list_tasks(ListTasks(labels=("course=cs=101",), limit=9))
    assert rows.tasks == []
    assert (await patched(store, task, Patch(labels={"z": "1"}))).spec.labels == {"z": "1"}
    # Everything else of it is as it was.
    assert replace(bare.spec, name="a+b", labels=a_spec().labels) == a_spec()


async def test_what_does_not_wait_is_neither_held_nor_moved(store: Store) -> None:
    leased, done = a_task(lease=a_lease()), a_task(lease=a_lease())
    for task in (leased, done):
        await store.dispatch.accept(task)
    await store.dispatch.finish_if_attempt(finish_item(done.id))
    for task in (leased, done):
        before = await store.tasks.get(task.id)
        for patch in (Patch(held=True), Patch(held=False), Patch(priority=5)):
            both = replace(patch, name="other")
            assert await store.dispatch.patch_if_next(await item_of(store, task.id, both)) is None
        assert await store.tasks.get(task.id) == before
        after = await patched(store, task.id, Patch(name="other", labels={"x": "y"}))
        assert after.dispatch is before.dispatch
        assert after.updated_at > before.updated_at
        assert after.outcome == before.outcome


async def test_of_two_that_read_the_same_one_changes_it(store: Store) -> None:
    task = await accepted(store)
    one = await item_of(store, task, Patch(labels={"a": "1"}))
    other = await item_of(store, task, Patch(held=True))
    assert await store.dispatch.patch_if_next(one) is not None
    assert await store.dispatch.patch_if_next(other) is None
    assert (await store.tasks.get(task)).dispatch is Dispatch.QUEUED


async def test_a_repetition_has_no_second_effect(store: Store) -> None:
    task = await accepted(store)
    hold = await item_of(store, task, Patch(held=True))
    first = await store.dispatch.patch_if_next(hold)
    assert await store.dispatch.patch_if_next(hold) == first
    released = await patched(store, task, Patch(held=False))
    # It lands once more, long after.
    assert await store.dispatch.patch_if_next(hold) is None
    assert await store.tasks.get(task) == released


async def test_only_if_nothing_has_changed(store: Store) -> None:
    task = await accepted(store)
    before = await store.tasks.get(task)
    item = replace(Patch(name="x").item(before, "c"), updated_at=before.updated_at)
    await store.dispatch.lease_if_queued(
        replace(lease_item(task), at=before.updated_at + timedelta(milliseconds=5))
    )
    assert await store.dispatch.patch_if_next(item) is None
    leased = await store.tasks.get(task)
    assert await store.dispatch.patch_if_next(replace(item, updated_at=leased.updated_at))


async def test_every_change_is_seen_by_its_date(store: Store) -> None:
    """Also those of one millisecond, and on a judicator whose clock is behind."""
    task = NewTask(id=mint_task_id(), spec=a_spec(), submitted_at=utc_now() + timedelta(hours=1))
    await store.dispatch.accept(task)
    dates = [(await store.tasks.get(task.id)).updated_at]
    dates += [(await patched(store, task.id, Patch(name=name))).updated_at for name in "abc"]
    assert dates == sorted(set(dates))


async def test_nothing_is_made_of_what_is_not_there(store: Store) -> None:
    task = a_task()
    await store.dispatch.accept(task)
    item = replace(await item_of(store, task.id, Patch(name="x")), id=mint_task_id())
    assert await store.dispatch.patch_if_next(item) is None
    with pytest.raises(NotFound):
        await store.tasks.get(item.id)


async def test_many_hold_lift_and_lease_at_once(judicators: list[Store]) -> None:
    """Whoever was faster, nobody has leased what a person holds, and nothing is lost."""
    store = judicators[0]
    tasks = [await accepted(store, Hold(keys=(OTHER,))) for _ in range(12)]
    holds = [await item_of(store, task, Patch(held=True)) for task in tasks]
    for start in range(0, 12, 4):
        some = range(start, start + 4)
        await asyncio.gather(
            *(judicators[1].dispatch.lift_if_held([Lift(id=tasks[n], key=OTHER)]) for n in some),
            *(judicators[2].dispatch.patch_if_next(holds[n]) for n in some),
            *(judicators[0].dispatch.lease_if_queued(lease_item(tasks[n])) for n in some),
        )
    for task in tasks:
        found = await store.tasks.get(task)
        if found.dispatch is Dispatch.LEASED:
            assert found.hold is None
        else:
            assert found.hold == Hold(keys=(RELEASE,))
            assert (await patched(store, task, Patch(held=False))).dispatch is Dispatch.QUEUED


async def test_what_waits_is_held_with_its_job(store: Store) -> None:
    key = hold_key(JobId("6b04d4787d852fb9eb000000"))
    queued, other = await accepted(store), await accepted(store, Hold(keys=(OTHER,)))
    leased = a_task(lease=a_lease())
    await store.dispatch.accept(leased)
    before = await store.tasks.get(leased.id)
    tasks = [queued, other, leased.id, mint_task_id()]
    for _ in range(2):
        await store.dispatch.hold_if_waiting([Lift(id=each, key=key) for each in tasks])
    assert await store.tasks.get(leased.id) == before
    assert (await store.tasks.get(queued)).hold == Hold(keys=(key,))
    assert (await store.tasks.get(other)).hold == Hold(keys=(OTHER, key))
    assert await store.dispatch.find_held(key, 9) == [queued, other]
    # Who is held by itself as well is not released with its job.
    await patched(store, queued, Patch(held=True))
    await store.dispatch.lift_if_held([Lift(id=each, key=key) for each in tasks])
    assert (await store.tasks.get(queued)).hold == Hold(keys=(RELEASE,))
    assert (await store.tasks.get(other)).hold == Hold(keys=(OTHER,))
