"""Statements on tasks, on MongoDB and on the dictionary."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from khala.model.errors import AlreadyDone, Conflict, NotFound
from khala.model.ids import AttemptNo, ExecutorName, SessionNo, TaskId, mint_task_id
from khala.model.limits import CRASH_LIMIT
from khala.model.outcome import Cancellation, Ending, Reason
from khala.model.spec import Part
from khala.model.statements import (
    AcceptResult,
    FinishResult,
    Lease,
    NewTask,
    ProgressItem,
    RequeueItem,
    RequeueResult,
)
from khala.model.task import Dispatch, Progress, TaskState
from khala.store.dates import to_ms, utc_now
from khala.store.parts import plan_parts
from tests.store.conftest import Store
from tests.store.samples import (
    FAILURE,
    SUCCESS,
    a_lease,
    a_spec,
    a_task,
    finish_item,
    lease_item,
)


def requeue_item(
    task: TaskId, attempt: int = 1, session: int = 1, *, crash: bool = False, executor: str = "e1"
) -> RequeueItem:
    return RequeueItem(
        id=task,
        attempt=AttemptNo(attempt),
        executor=ExecutorName(executor),
        session=SessionNo(session),
        crash=crash,
    )


async def leased(store: Store) -> NewTask:
    task = a_task(lease=a_lease())
    await store.dispatch.accept(task)
    return task


async def test_an_accepted_task_reads_as_it_was_sent(store: Store) -> None:
    spec = a_spec(parts={part: part.encode() for part in Part})
    task = NewTask(id=mint_task_id(), spec=spec, submitted_at=utc_now())
    assert await store.dispatch.accept(task) == AcceptResult(id=task.id, replay=False)
    read = await store.tasks.get(task.id)
    assert read.spec == spec
    assert read.submitted_at == to_ms(task.submitted_at)
    assert (read.state, read.attempt, read.crashes) == (TaskState.QUEUED, 0, 0)
    assert read.executor is None and read.outcome is None and read.started_at is None


async def test_the_fused_form_is_attempt_one_under_its_lease(store: Store) -> None:
    task = await leased(store)
    read = await store.tasks.get(task.id)
    assert (read.state, read.attempt, read.executor) == (TaskState.STARTING, 1, "e1")
    assert await store.dispatch.finish_if_attempt(finish_item(task.id)) is FinishResult.RECORDED


async def test_an_insert_can_be_repeated(store: Store) -> None:
    task = a_task(key="k")
    results = [await store.dispatch.accept(task) for _ in range(3)]
    assert results == [AcceptResult(id=task.id, replay=False)] * 3
    assert (await store.tasks.counts()).queued == 1


async def test_a_repeated_insert_does_not_touch_what_happened_since(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.finish_if_attempt(finish_item(task.id))
    await store.dispatch.accept(task)
    assert (await store.tasks.get(task.id)).dispatch is Dispatch.DONE


async def test_a_key_names_one_task_per_user(store: Store) -> None:
    first, again, other_user = a_task(key="k"), a_task(key="k"), a_task(8, key="k")
    assert not (await store.dispatch.accept(first)).replay
    assert await store.dispatch.accept(again) == AcceptResult(id=first.id, replay=True)
    assert not (await store.dispatch.accept(other_user)).replay
    with pytest.raises(NotFound):
        await store.tasks.get(again.id)


async def test_a_key_with_another_request_is_a_conflict(store: Store) -> None:
    first = a_task(key="k")
    await store.dispatch.accept(first)
    with pytest.raises(Conflict, match=first.id):
        await store.dispatch.accept(a_task(key="k", fingerprint=b"g" * 32))


async def test_keys_within_one_batch_resolve_each_for_itself(store: Store) -> None:
    twins = [a_task(key="k") for _ in range(20)]
    stranger = a_task(key="k", fingerprint=b"g" * 32)
    alone = a_task()
    answers = await store.tasks.insert_if_new([*twins, stranger, alone])
    accepted = [answer for answer in answers if isinstance(answer, AcceptResult)]
    assert {answer.id for answer in accepted[:20]} == {twins[0].id}
    assert [answer.replay for answer in accepted[:20]] == [False] + [True] * 19
    assert isinstance(answers[20], Conflict)
    assert answers[21] == AcceptResult(id=alone.id, replay=False)


async def test_a_lease_makes_the_attempt_one_more_and_can_be_repeated(store: Store) -> None:
    task = a_task()
    await store.dispatch.accept(task)
    item = lease_item(task.id)
    assert await store.dispatch.lease_if_queued(item)
    assert await store.dispatch.lease_if_queued(item)
    assert not await store.dispatch.lease_if_queued(lease_item(task.id))
    read = await store.tasks.get(task.id)
    assert (read.attempt, read.state) == (1, TaskState.STARTING)


async def test_a_lease_needs_the_attempt_it_expects(store: Store) -> None:
    task = a_task()
    await store.dispatch.accept(task)
    assert not await store.dispatch.lease_if_queued(lease_item(task.id, attempt=1))
    assert not await store.dispatch.lease_if_queued(lease_item(mint_task_id()))


async def test_a_batch_of_leases_answers_item_by_item(store: Store) -> None:
    tasks = [a_task() for _ in range(6)]
    for task in tasks:
        await store.dispatch.accept(task)
    await store.tasks.lease_if_queued([lease_item(task.id) for task in tasks[::2]])
    answers = await store.tasks.lease_if_queued([lease_item(task.id) for task in tasks])
    assert answers == [False, True] * 3


async def test_progress_is_the_leased_attempts_only(store: Store) -> None:
    task = await leased(store)
    for attempt, progress in ((1, Progress.COMPILING), (2, Progress.RUNNING)):
        await store.dispatch.progress_if_leased(
            ProgressItem(id=task.id, attempt=AttemptNo(attempt), progress=progress)
        )
    assert (await store.tasks.get(task.id)).state is TaskState.COMPILING


async def test_progress_after_the_end_changes_nothing(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.finish_if_attempt(finish_item(task.id))
    await store.dispatch.progress_if_leased(
        ProgressItem(id=task.id, attempt=AttemptNo(1), progress=Progress.RUNNING)
    )
    read = await store.tasks.get(task.id)
    assert (read.state, read.progress) == (TaskState.SUCCEEDED, None)


async def test_the_first_result_stands(store: Store) -> None:
    task = await leased(store)
    assert await store.dispatch.finish_if_attempt(finish_item(task.id)) is FinishResult.RECORDED
    late = finish_item(task.id, outcome=FAILURE)
    assert await store.dispatch.finish_if_attempt(late) is FinishResult.RECORDED
    read = await store.tasks.get(task.id)
    assert (read.outcome, read.result_attempt, read.executor) == (SUCCESS, 1, None)
    assert read.done_at is not None


async def test_a_result_of_another_attempt_is_stale(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.requeue_if_leased_by(requeue_item(task.id))
    await store.dispatch.lease_if_queued(lease_item(task.id, attempt=1))
    assert await store.dispatch.finish_if_attempt(finish_item(task.id, 1)) is FinishResult.STALE
    assert await store.dispatch.finish_if_attempt(finish_item(task.id, 2)) is FinishResult.RECORDED
    assert await store.dispatch.finish_if_attempt(finish_item(task.id, 1)) is FinishResult.STALE


async def test_a_late_result_counts_while_its_number_stands(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.requeue_if_leased_by(requeue_item(task.id))
    assert await store.dispatch.finish_if_attempt(finish_item(task.id)) is FinishResult.RECORDED
    assert not await store.dispatch.lease_if_queued(lease_item(task.id, attempt=1))


async def test_a_batch_of_results_answers_item_by_item(store: Store) -> None:
    tasks = [await leased(store) for _ in range(4)]
    await store.dispatch.cancel_if_open(tasks[1].id)
    items = [*(finish_item(task.id) for task in tasks), finish_item(mint_task_id())]
    recorded, stale = FinishResult.RECORDED, FinishResult.STALE
    answers = await store.tasks.finish_if_attempt(items)
    assert answers == [recorded, stale, recorded, recorded, stale]


async def test_cancel_says_who_must_be_told(store: Store) -> None:
    lease = a_lease()
    task = a_task(lease=lease)
    await store.dispatch.accept(task)
    result = await store.dispatch.cancel_if_open(task.id)
    assert (result.before, result.attempt) == (lease, 1)
    assert result.brief.state is TaskState.CANCELLED
    assert result.brief.reason is Reason.CANCELLED
    [stored] = await store.tasks.load_briefs([task.id])
    assert stored == result.brief


@pytest.mark.parametrize("lease", [None, a_lease()])
async def test_what_is_said_of_a_cancel_stays_with_the_task(
    store: Store, lease: Lease | None
) -> None:
    task = a_task(lease=lease)
    await store.dispatch.accept(task)
    said = Cancellation(by="ann", reason="wrong input")
    result = await store.dispatch.cancel_if_open(task.id, said)
    with pytest.raises(AlreadyDone):
        await store.dispatch.cancel_if_open(task.id, Cancellation(by="ben"))
    assert await store.dispatch.finish_if_attempt(finish_item(task.id)) is FinishResult.STALE
    outcome = (await store.tasks.get(task.id)).outcome
    assert outcome is not None and outcome.cancellation == said
    [stored] = await store.tasks.load_briefs([task.id])
    assert stored == result.brief and stored.cancellation == said


async def test_cancelling_a_waiting_task_tells_nobody(store: Store) -> None:
    task = a_task()
    await store.dispatch.accept(task)
    result = await store.dispatch.cancel_if_open(task.id)
    assert (result.before, result.attempt) == (None, None)
    assert not await store.dispatch.lease_if_queued(lease_item(task.id))


async def test_what_is_done_cannot_be_cancelled(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.finish_if_attempt(finish_item(task.id))
    with pytest.raises(AlreadyDone, match="succeeded"):
        await store.dispatch.cancel_if_open(task.id)
    with pytest.raises(NotFound):
        await store.dispatch.cancel_if_open(mint_task_id())


async def test_a_result_after_cancel_is_stale(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.cancel_if_open(task.id)
    assert await store.dispatch.finish_if_attempt(finish_item(task.id)) is FinishResult.STALE
    read = await store.tasks.get(task.id)
    assert read.outcome is not None and read.outcome.ending is Ending.CANCELLED
    assert read.result_attempt is None


async def test_a_run_is_adopted_into_a_new_session(store: Store) -> None:
    task = await leased(store)
    newer = a_lease(session=2)
    assert await store.dispatch.adopt_if_attempt(task.id, AttemptNo(1), newer)
    assert await store.dispatch.adopt_if_attempt(task.id, AttemptNo(1), newer)
    assert (await store.tasks.get(task.id)).attempt == 1
    [held] = await store.dispatch.leases_of(ExecutorName("e1"), SessionNo(9))
    assert held.session == 2


async def test_an_adoption_that_comes_late_does_not_undo_a_newer_one(store: Store) -> None:
    task = await leased(store)
    assert await store.dispatch.adopt_if_attempt(task.id, AttemptNo(1), a_lease(session=3))
    assert not await store.dispatch.adopt_if_attempt(task.id, AttemptNo(1), a_lease(session=2))


async def test_a_requeued_run_is_adopted_unless_another_has_it(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.requeue_if_leased_by(requeue_item(task.id))
    assert await store.dispatch.adopt_if_attempt(task.id, AttemptNo(1), a_lease(session=2))
    stranger = a_lease("e2", session=5)
    assert not await store.dispatch.adopt_if_attempt(task.id, AttemptNo(1), stranger)
    assert not await store.dispatch.adopt_if_attempt(task.id, AttemptNo(2), a_lease(session=3))


async def test_what_is_done_cannot_be_adopted(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.cancel_if_open(task.id)
    assert not await store.dispatch.adopt_if_attempt(task.id, AttemptNo(1), a_lease(session=2))


async def test_requeue_needs_the_very_lease(store: Store) -> None:
    task = await leased(store)
    for wrong in (
        requeue_item(task.id, attempt=2),
        requeue_item(task.id, session=2),
        requeue_item(task.id, executor="e2"),
        requeue_item(mint_task_id()),
    ):
        assert await store.dispatch.requeue_if_leased_by(wrong) is RequeueResult.STALE
    right = requeue_item(task.id)
    assert await store.dispatch.requeue_if_leased_by(right) is RequeueResult.REQUEUED
    assert await store.dispatch.requeue_if_leased_by(right) is RequeueResult.STALE
    read = await store.tasks.get(task.id)
    assert (read.state, read.attempt, read.crashes) == (TaskState.QUEUED, 1, 0)
    assert read.started_at is None


@pytest.mark.parametrize("limit", [1, CRASH_LIMIT, 5])
async def test_crashes_end_the_task_at_their_limit(store: Store, limit: int) -> None:
    task = a_task()
    task = replace(task, spec=replace(task.spec, max_crashes=limit))
    await store.dispatch.accept(task)
    for n in range(limit):
        assert await store.dispatch.lease_if_queued(lease_item(task.id, attempt=n))
        result = await store.dispatch.requeue_if_leased_by(
            requeue_item(task.id, attempt=n + 1, crash=True)
        )
        last = n == limit - 1
        assert result is (RequeueResult.ENDED if last else RequeueResult.REQUEUED)
    read = await store.tasks.get(task.id)
    assert (read.state, read.crashes) == (TaskState.ERROR, limit)
    assert read.outcome is not None
    assert read.outcome.reason is Reason.EXECUTOR_LOST_REPEATEDLY
    assert read.result_attempt is None


async def test_giving_back_is_not_a_crash(store: Store) -> None:
    task = a_task()
    await store.dispatch.accept(task)
    for n in range(CRASH_LIMIT + 2):
        assert await store.dispatch.lease_if_queued(lease_item(task.id, attempt=n))
        result = await store.dispatch.requeue_if_leased_by(requeue_item(task.id, attempt=n + 1))
        assert result is RequeueResult.REQUEUED


async def test_only_what_waits_is_found(store: Store) -> None:
    task = await leased(store)
    assert await store.dispatch.find_queued("gcc-13", 9, -1.0) == []
    await store.dispatch.requeue_if_leased_by(requeue_item(task.id, crash=True))
    [candidate] = await store.dispatch.find_queued("gcc-13", 9, -1.0)
    assert (candidate.attempt, candidate.crashes) == (1, 1)


async def test_counts(store: Store) -> None:
    for lease in (None, None, a_lease()):
        await store.dispatch.accept(a_task(lease=lease))
    done = await leased(store)
    await store.dispatch.finish_if_attempt(finish_item(done.id))
    counts = await store.tasks.counts()
    assert (counts.queued, counts.leased) == (2, 1)


async def test_large_parts_stay_out_of_the_document(store: Store) -> None:
    plan = plan_parts({Part.EXECUTE_INPUT: b"x" * 100_000, Part.EXECUTE_COMMAND: b"cat"})
    spec = replace(a_spec(), parts=plan.refs)
    task = NewTask(id=mint_task_id(), spec=spec, submitted_at=utc_now())
    await store.dispatch.accept(task)
    parts = (await store.tasks.get(task.id)).spec.parts
    assert parts[Part.EXECUTE_INPUT].inline is None
    assert parts[Part.EXECUTE_COMMAND].inline == b"cat"


async def test_three_dispatchers_never_lease_the_same_attempt(judicators: list[Store]) -> None:
    tasks = [a_task() for _ in range(500)]
    answers = await judicators[0].tasks.insert_if_new(tasks)
    assert all(isinstance(answer, AcceptResult) for answer in answers)
    won: list[TaskId] = []

    async def dispatch(store: Store, executor: str) -> None:
        while candidates := await store.dispatch.find_queued("gcc-13", 40, -1.0):
            items = [
                lease_item(one.id, one.attempt, a_lease(executor, by=executor))
                for one in candidates
            ]
            taken = await asyncio.gather(*map(store.dispatch.lease_if_queued, items))
            won.extend(item.id for item, mine in zip(items, taken, strict=True) if mine)

    async with asyncio.timeout(30):
        await asyncio.gather(
            *(dispatch(store, f"e{n}") for n, store in enumerate(judicators)),
        )
    assert sorted(won) == sorted(task.id for task in tasks)
    held = [
        lease
        for n in range(3)
        for lease in await judicators[0].dispatch.leases_of(ExecutorName(f"e{n}"), SessionNo(1))
    ]
    assert len(held) == 500
    assert {lease.attempt for lease in held} == {1}
