"""Results that are not a task's last."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from khala.core.facts import AttemptRecorded, AttemptRetried
from khala.core.ports import Conn
from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.ids import SessionNo, TaskId
from khala.model.limits import RETRY_SPREAD
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.retry import Retry, RetryReason
from khala.model.task import Dispatch
from khala.protocol.executor import Abandon, Finished, Recorded, Run
from tests.unit.core.desk import DONE, Desk, finished, heartbeat, run_of

FAILED = Outcome(ending=Ending.FAILED, reason=Reason.EXIT_NONZERO)
TWICE = Retry(max_attempts=3, backoff_s=2)
AT_ONCE = Retry(max_attempts=2, backoff_s=0)


def failed(run: Run, reason: Reason = Reason.EXIT_NONZERO) -> Finished:
    return Finished(
        session=SessionNo(1), run=run, outcome=Outcome(ending=Ending.FAILED, reason=reason)
    )


def given(desk: Desk, retry: Retry | None) -> tuple[Conn, TaskId]:
    conn = desk.attach(1)
    task = desk.submit(retry=retry)
    assert desk.take_runs(conn) == [run_of(task)]
    return conn, task


def wait_for(desk: Desk, conn: Conn, seconds: float) -> None:
    desk.beat_for(seconds, conn, heartbeat())


def test_a_failure_is_tried_again_after_a_pause_that_doubles(desk: Desk) -> None:
    conn, task = given(desk, TWICE)
    for attempt, pause_s in ((1, 2.0), (2, 4.0)):
        at = desk.wall_time()
        desk.hear(conn, failed(run_of(task, attempt)))
        assert desk.take(conn) == [Recorded(runs=[run_of(task, attempt)])]
        held = desk.task(task)
        assert held.dispatch is Dispatch.HELD and held.hold is not None and held.hold.until
        waits_s = (held.hold.until - at).total_seconds()
        assert pause_s <= waits_s <= pause_s * (1 + RETRY_SPREAD)
        wait_for(desk, conn, waits_s - 1.0)
        assert desk.take(conn) == []
        wait_for(desk, conn, 3.0)
        assert desk.take_runs(conn) == [run_of(task, attempt + 1)]
    desk.hear(conn, failed(run_of(task, 3)))
    assert desk.take(conn) == [Recorded(runs=[run_of(task, 3)])]
    done = desk.task(task)
    assert (done.outcome, done.result_attempt, done.retries) == (FAILED, 3, 2)
    assert [type(fact) for fact in desk.facts] == [AttemptRetried, AttemptRetried, AttemptRecorded]
    assert [each.attempt for each in done.past] == [1, 2]


def test_without_a_pause_it_is_tried_at_once(desk: Desk) -> None:
    conn, task = given(desk, AT_ONCE)
    desk.hear(conn, failed(run_of(task)))
    desk.take(conn)
    desk.advance(0.5)
    assert desk.take_runs(conn) == [run_of(task, 2)]
    desk.hear(conn, finished(run_of(task, 2)))
    assert desk.take(conn) == [Recorded(runs=[run_of(task, 2)])]
    assert desk.task(task).outcome == DONE


@pytest.mark.parametrize(
    ("retry", "reason"),
    [
        (None, Reason.EXIT_NONZERO),
        (Retry(max_attempts=3, on=(RetryReason.SIGNAL,)), Reason.EXIT_NONZERO),
        (Retry(max_attempts=1), Reason.EXIT_NONZERO),
        (TWICE, Reason.BAD_INPUT),
    ],
)
def test_other_results_are_the_last(desk: Desk, retry: Retry | None, reason: Reason) -> None:
    conn, task = given(desk, retry)
    desk.hear(conn, failed(run_of(task), reason))
    assert desk.take(conn) == [Recorded(runs=[run_of(task)])]
    done = desk.task(task)
    assert done.outcome is not None and done.outcome.reason is reason
    assert (done.dispatch, done.retries) == (Dispatch.DONE, 0)


def test_a_success_is_not_looked_at_twice(desk: Desk) -> None:
    conn, task = given(desk, TWICE)
    desk.store.fail_next(Unavailable("only the result may be asked of the store"))
    desk.hear(conn, finished(run_of(task)))
    assert desk.take(conn) == []
    assert desk.task(task).dispatch is Dispatch.LEASED


@pytest.mark.parametrize("lands", [True, False])
def test_a_retry_in_doubt_is_stated_again_and_counts_once(desk: Desk, lands: bool) -> None:
    conn, task = given(desk, TWICE)
    desk.store.pass_next(1)
    desk.store.fail_next(OutcomeUnknown("no answer"), lands=lands)
    desk.hear(conn, failed(run_of(task)))
    assert desk.take(conn) == []
    desk.hear(conn, failed(run_of(task)))
    assert desk.take(conn) == [Recorded(runs=[run_of(task)])]
    assert (desk.task(task).retries, len(desk.task(task).past)) == (1, 1)


def test_the_same_failure_reported_again_is_known(desk: Desk) -> None:
    """After a new life of the judicator, and also when the next attempt runs already."""
    conn, task = given(desk, AT_ONCE)
    desk.hear(conn, failed(run_of(task)))
    desk.hear(conn, failed(run_of(task)))
    assert desk.take(conn) == [Recorded(runs=[run_of(task)])] * 2
    desk.advance(0.5)
    assert desk.take_runs(conn) == [run_of(task, 2)]
    desk.hear(conn, failed(run_of(task)))
    assert desk.take(conn) == [Recorded(runs=[run_of(task)])]
    desk.hear(conn, failed(run_of(task, 2)))
    assert desk.take(conn) == [Recorded(runs=[run_of(task, 2)])]
    assert desk.task(task).result_attempt == 2


def test_a_result_of_an_attempt_that_was_lost_is_retried_while_its_number_stands(
    desk: Desk,
) -> None:
    conn, task = given(desk, TWICE)
    desk.cancel(task)
    desk.take(conn)
    desk.hear(conn, failed(run_of(task)))
    assert desk.take(conn) == [Abandon(runs=[run_of(task)])]


def test_an_executor_that_shows_the_result_again_does_not_get_its_lease_back(desk: Desk) -> None:
    conn, task = given(desk, TWICE)
    desk.hear(conn, failed(run_of(task)))
    desk.take(conn)
    desk.hang_up(conn)
    again = desk.attach(2, spooled=[run_of(task)])
    assert desk.task(task).dispatch is Dispatch.HELD
    message = failed(run_of(task))
    desk.hear(again, replace(message, session=SessionNo(2)))
    assert desk.take(again) == [Recorded(runs=[run_of(task)])]


def test_pauses_differ_from_task_to_task_and_have_a_maximum() -> None:
    policy = Retry(max_attempts=20, backoff_s=10, backoff_max_s=60)
    tasks = [TaskId(f"{n:024x}") for n in range(200)]
    first = [policy.pause_s(task, 1) for task in tasks]
    assert len(set(first)) == len(tasks)
    assert all(10 <= pause_s <= 12.5 for pause_s in first)
    assert max(first) - min(first) > 2
    last = [policy.pause_s(task, 19) for task in tasks]
    assert all(60 <= pause_s <= 75 for pause_s in last)
    assert first == [policy.pause_s(task, 1) for task in tasks]
    assert timedelta(seconds=policy.pause_s(tasks[0], 2)) > timedelta(seconds=first[0])
