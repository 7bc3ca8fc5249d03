"""Results that are not the last, and what is remembered of attempts, on MongoDB and on the
dictionary."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from khala.model.attempts import AttemptEnd, PastAttempt
from khala.model.holds import Hold
from khala.model.ids import AttemptNo, ExecutorName, SessionNo, TaskId
from khala.model.limits import PAST_ATTEMPTS
from khala.model.outcome import Outcome, StageOutcome, Stream, StreamRef
from khala.model.spec import Stage
from khala.model.statements import FinishResult, Lift, NewTask, RequeueItem, RetryItem
from khala.model.status import Kv2Status, kv2_status
from khala.model.task import Dispatch, TaskState, brief_of
from khala.protocol.rpc import ListTasks
from khala.store.dates import to_ms, utc_now
from tests.store.conftest import Store
from tests.store.samples import FAILURE, SUCCESS, a_lease, a_task, finish_item, lease_item

E1 = ExecutorName("e1")
#: What a program says may look like an expression of the database.
FAILED = replace(
    FAILURE,
    executor=E1,
    note="$attempt of {$sum: 1}",
    execute=StageOutcome(reason=FAILURE.reason, exit_code=3, wall_ms=12),
    streams={Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=5, inline=b"$spec")},
)


async def leased(store: Store) -> NewTask:
    task = a_task(lease=a_lease())
    await store.dispatch.accept(task)
    return task


def retry_item(
    task: TaskId, attempt: int = 1, outcome: Outcome = FAILED, wait: timedelta | None = None
) -> RetryItem:
    now = to_ms(utc_now())
    return RetryItem(
        id=task,
        attempt=AttemptNo(attempt),
        outcome=outcome,
        at=now,
        until=None if wait is None else now + wait,
    )


def lost(task: TaskId, attempt: int = 1, *, crash: bool = True) -> RequeueItem:
    return RequeueItem(
        id=task, attempt=AttemptNo(attempt), executor=E1, session=SessionNo(1), crash=crash
    )


async def test_a_result_that_is_not_the_last_holds_its_task_until_a_date(store: Store) -> None:
    task = await leased(store)
    began = (await store.tasks.get(task.id)).started_at
    item = retry_item(task.id, wait=timedelta(hours=1))
    assert await store.dispatch.retry_if_attempt(item)
    read = await store.tasks.get(task.id)
    assert (read.dispatch, read.state, read.attempt) == (Dispatch.HELD, TaskState.QUEUED, 1)
    assert (read.hold, read.retries, read.retried) == (Hold(until=item.until), 1, 1)
    assert (read.outcome, read.executor, read.started_at) == (None, None, None)
    [past] = read.past
    assert (past.attempt, past.end, past.executor) == (1, AttemptEnd.RETRIED, E1)
    assert (past.started_at, past.ended_at) == (began, item.at)
    assert past.outcome is not None
    assert (past.outcome.note, past.outcome.execute) == (FAILED.note, FAILED.execute)


async def test_its_outputs_are_kept(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.retry_if_attempt(retry_item(task.id))
    [past] = (await store.tasks.get(task.id)).past
    assert past.outcome is not None
    assert past.outcome.streams == {Stream.EXECUTE_OUTPUT: StreamRef(size_bytes=5)}
    chunks = store.outputs.read_stream(task.id, AttemptNo(1), Stream.EXECUTE_OUTPUT)
    assert [chunk async for chunk in chunks] == [b"$spec"]
    await store.dispatch.lease_if_queued(lease_item(task.id, 1))
    await store.dispatch.finish_if_attempt(finish_item(task.id, 2))
    await store.outputs.collect_orphans(timedelta(seconds=-10))
    chunks = store.outputs.read_stream(task.id, AttemptNo(1), Stream.EXECUTE_OUTPUT)
    assert [chunk async for chunk in chunks] == [b"$spec"]


async def test_without_a_date_it_is_queued_at_once(store: Store) -> None:
    task = await leased(store)
    assert await store.dispatch.retry_if_attempt(retry_item(task.id))
    read = await store.tasks.get(task.id)
    assert (read.dispatch, read.hold) == (Dispatch.QUEUED, None)
    assert await store.dispatch.lease_if_queued(lease_item(task.id, 1))
    assert await store.dispatch.finish_if_attempt(finish_item(task.id, 2)) is FinishResult.RECORDED
    done = await store.tasks.get(task.id)
    assert (done.outcome, done.result_attempt, done.retries) == (SUCCESS, 2, 1)
    assert [each.attempt for each in done.past] == [1]


async def test_a_retry_can_be_repeated_and_counts_once(store: Store) -> None:
    task = await leased(store)
    item = retry_item(task.id, wait=timedelta(seconds=-1))
    assert [await store.dispatch.retry_if_attempt(item) for _ in range(3)] == [True] * 3
    await store.dispatch.lift_if_held([Lift(id=task.id)])
    assert await store.dispatch.retry_if_attempt(item)
    read = await store.tasks.get(task.id)
    assert (read.dispatch, read.retries, len(read.past)) == (Dispatch.QUEUED, 1, 1)
    await store.dispatch.lease_if_queued(lease_item(task.id, 1))
    assert await store.dispatch.retry_if_attempt(item)
    assert (await store.tasks.get(task.id)).dispatch is Dispatch.LEASED


async def test_what_was_retried_is_never_the_result(store: Store) -> None:
    """Its number stands until the next lease; the executor may report it again at any time."""
    task = await leased(store)
    await store.dispatch.retry_if_attempt(retry_item(task.id, wait=timedelta(seconds=-1)))
    for _ in range(2):
        answer = await store.dispatch.finish_if_attempt(finish_item(task.id, outcome=FAILED))
        assert answer is FinishResult.RETRIED
        await store.dispatch.lift_if_held([Lift(id=task.id)])
    assert (await store.tasks.get(task.id)).dispatch is Dispatch.QUEUED
    await store.dispatch.lease_if_queued(lease_item(task.id, 1))
    other = a_task(lease=a_lease())
    await store.dispatch.accept(other)
    late = [finish_item(task.id, outcome=FAILED), finish_item(other.id)]
    answers = await store.tasks.finish_if_attempt(late)
    assert answers == [FinishResult.RETRIED, FinishResult.RECORDED]
    assert (await store.tasks.get(task.id)).dispatch is Dispatch.LEASED


async def test_what_was_retried_is_not_taken_over(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.retry_if_attempt(retry_item(task.id))
    assert not await store.dispatch.adopt_if_attempt(task.id, AttemptNo(1), a_lease())
    assert (await store.tasks.get(task.id)).dispatch is Dispatch.QUEUED


async def test_only_the_attempt_that_stands_is_retried(store: Store) -> None:
    done, moved, waiting = await leased(store), await leased(store), a_task()
    await store.dispatch.accept(waiting)
    await store.dispatch.finish_if_attempt(finish_item(done.id))
    await store.dispatch.requeue_if_leased_by(lost(moved.id))
    await store.dispatch.lease_if_queued(lease_item(moved.id, 1))
    before = [await store.tasks.get(task.id) for task in (done, moved, waiting)]
    absent = a_task()
    for task in (done, moved, waiting, absent):
        assert not await store.dispatch.retry_if_attempt(retry_item(task.id))
    assert [await store.tasks.get(task.id) for task in (done, moved, waiting)] == before


async def test_a_late_result_is_retried_and_replaces_what_was_known(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.requeue_if_leased_by(lost(task.id))
    assert await store.dispatch.retry_if_attempt(retry_item(task.id))
    read = await store.tasks.get(task.id)
    assert [(each.attempt, each.end) for each in read.past] == [(1, AttemptEnd.RETRIED)]
    assert (read.crashes, read.retries) == (1, 1)


async def test_what_is_retried_can_be_cancelled(store: Store) -> None:
    task = await leased(store)
    await store.dispatch.retry_if_attempt(retry_item(task.id, wait=timedelta(hours=1)))
    result = await store.dispatch.cancel_if_open(task.id)
    assert (result.before, result.brief.state) == (None, TaskState.CANCELLED)
    assert await store.dispatch.retry_if_attempt(retry_item(task.id))
    assert (await store.tasks.get(task.id)).state is TaskState.CANCELLED


async def test_attempts_that_came_back_without_a_result_are_remembered(store: Store) -> None:
    task = await leased(store)
    began = (await store.tasks.get(task.id)).started_at
    await store.dispatch.requeue_if_leased_by(lost(task.id))
    await store.dispatch.lease_if_queued(lease_item(task.id, 1))
    await store.dispatch.requeue_if_leased_by(lost(task.id, 2, crash=False))
    first, second = (await store.tasks.get(task.id)).past
    assert first == PastAttempt(
        attempt=AttemptNo(1),
        end=AttemptEnd.EXECUTOR_LOST,
        executor=E1,
        started_at=began,
        ended_at=first.ended_at,
    )
    assert (second.attempt, second.end) == (2, AttemptEnd.RETURNED)


@pytest.mark.parametrize(
    ("crash", "drained", "end", "again"),
    [
        (False, False, AttemptEnd.RETURNED, False),
        (False, True, AttemptEnd.DRAINED, True),
        (True, False, AttemptEnd.EXECUTOR_LOST, True),
    ],
)
async def test_what_had_no_slot_after_all_is_no_retry(
    store: Store, crash: bool, drained: bool, end: AttemptEnd, again: bool
) -> None:
    task = await leased(store)
    item = replace(lost(task.id, crash=crash), drained=drained)
    await store.dispatch.requeue_if_leased_by(item)
    read = await store.tasks.get(task.id)
    assert [each.end for each in read.past] == [end]
    [row] = (await store.tasks.list_tasks(ListTasks(limit=1))).tasks
    assert row == brief_of(read) and row.again is again
    status = kv2_status(row.state, row.stage, again=row.again)
    assert status is (Kv2Status.RETRYING if again else Kv2Status.PENDING)


async def test_the_last_attempts_are_remembered(store: Store) -> None:
    task = await leased(store)
    for attempt in range(1, PAST_ATTEMPTS + 3):
        await store.dispatch.requeue_if_leased_by(lost(task.id, attempt, crash=False))
        await store.dispatch.lease_if_queued(lease_item(task.id, attempt))
    past = (await store.tasks.get(task.id)).past
    assert [each.attempt for each in past] == list(range(3, PAST_ATTEMPTS + 3))


async def test_a_failure_of_the_compile_stage_is_one(store: Store) -> None:
    task = await leased(store)
    outcome = replace(FAILED, stage=Stage.COMPILE, compile=FAILED.execute, execute=None)
    await store.dispatch.retry_if_attempt(retry_item(task.id, outcome=outcome))
    [past] = (await store.tasks.get(task.id)).past
    assert past.outcome is not None and past.outcome.compile == FAILED.execute
