"""Attempts that end without a result: lost, refused, cancelled."""

from __future__ import annotations

from khala.core.facts import AttemptReturned
from khala.model.errors import Unavailable
from khala.model.ids import SessionNo
from khala.model.limits import (
    CRASH_LIMIT,
    LOSSES_MAX,
    REFUSAL_PAUSE_S,
    REST_S,
    SHORT_ATTEMPT_S,
    STRANGER_AGE_S,
)
from khala.model.outcome import Cancellation, Reason
from khala.model.task import Dispatch, TaskState
from khala.model.wants import Wants
from khala.protocol.executor import (
    Dead,
    Kill,
    Recorded,
    Refused,
)
from khala.store.memory import run_now
from tests.unit.core.desk import Desk, finished, heartbeat, run_of

S1 = SessionNo(1)


# ---- lost, refused ---------------------------------------------------------------------------


def test_dead_attempts_are_tried_again_until_the_limit(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit()
    for attempt in range(1, CRASH_LIMIT + 1):
        assert desk.take_runs(conn) == [run_of(task, attempt)]
        desk.hear(conn, Dead(session=S1, run=run_of(task, attempt)))
        desk.advance(REFUSAL_PAUSE_S - 0.5)
        assert desk.take(conn) == []
        desk.advance(1)
    outcome = desk.task(task).outcome
    assert outcome is not None
    assert outcome.reason is Reason.EXECUTOR_LOST_REPEATEDLY


def test_lost_and_returned_attempts_are_told_apart(desk: Desk) -> None:
    conn = desk.attach(2)
    lost, refused = run_of(desk.submit()), run_of(desk.submit())
    assert desk.take_runs(conn) == [lost, refused]
    desk.hear(conn, Dead(session=S1, run=lost))
    desk.hear(conn, Refused(session=S1, run=refused, why="no"))
    desk.take(conn)
    assert desk.facts == [AttemptReturned(crash=True), AttemptReturned(crash=False)]


def test_a_host_that_breaks_everything_rests(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(LOSSES_MAX + 1)]
    for task in tasks[:LOSSES_MAX]:
        assert desk.take_runs(conn) == [run_of(task)]
        desk.hear(conn, Dead(session=S1, run=run_of(task)))
    desk.beat_for(REST_S - 1, conn, heartbeat())
    assert desk.take(conn) == []
    desk.beat_for(2, conn, heartbeat())
    # What it lost has waited longest, and the pause after the loss is over.
    assert desk.take_runs(conn) == [run_of(tasks[0], 2)]


def test_a_result_between_losses_keeps_an_executor_at_work(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(2 * LOSSES_MAX)]
    for number, task in enumerate(tasks):
        run = run_of(task)
        assert run in desk.take_runs(conn)
        if number % 2:
            desk.beat_for(SHORT_ATTEMPT_S + 0.1, conn, heartbeat(running=[run]))
            desk.take(conn)
            desk.hear(conn, finished(run))
            assert Recorded(runs=[run]) == desk.take_first(conn)
        else:
            desk.hear(conn, Dead(session=S1, run=run))


def test_a_refused_task_is_left_alone_by_that_executor(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    assert desk.take_runs(conn) == [run]
    desk.hear(conn, Refused(session=S1, run=run, why="disk"))
    desk.advance(REFUSAL_PAUSE_S - 0.5)
    assert desk.take(conn) == []
    desk.advance(1)
    assert desk.take_runs(conn) == [run_of(run[0], 2)]
    assert desk.task(run[0]).crashes == 0


def test_a_refused_task_goes_to_another_executor_at_once(desk: Desk) -> None:
    first = desk.attach(1, name="E1")
    run = run_of(desk.submit())
    assert desk.take_runs(first) == [run]
    second = desk.attach(2, name="E2", slots=1)
    desk.advance(STRANGER_AGE_S)
    desk.hear(first, Refused(session=S1, run=run, why="disk"))
    desk.advance(0.5)
    assert desk.take_runs(second) == [run_of(run[0], 2)]


def test_refused_tasks_hide_nothing_behind_them(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit_elsewhere() for _ in range(8)]
    desk.advance(0.5)
    for task in tasks[:7]:
        assert desk.take_runs(conn) == [run_of(task)]
        desk.hear(conn, Refused(session=S1, run=run_of(task), why="payload"))
        desk.advance(0.5)
    assert desk.take_runs(conn) == [run_of(tasks[7])]


# ---- cancel ---------------------------------------------------------------------------------


def test_a_cancel_kills_the_run(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit()
    desk.take(conn)
    desk.cancel(task)
    assert desk.take(conn) == [Kill(session=S1, run=run_of(task))]
    assert desk.task(task).state is TaskState.CANCELLED
    assert desk.dispatcher.free == 2


def test_what_has_time_to_end_takes_up_its_slot_until_it_is_gone(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    task, next_task = desk.submit(), desk.submit()
    desk.take(conn)
    desk.cancel(task, 9.0)
    assert desk.take(conn) == [Kill(session=S1, run=run_of(task), grace_s=9.0)]
    assert desk.task(task).state is TaskState.CANCELLED
    desk.hear(conn, heartbeat(ending=1))
    assert desk.take(conn) == []
    desk.hear(conn, heartbeat())
    assert desk.take_runs(conn) == [run_of(next_task)]


def test_what_has_ended_needs_no_time(desk: Desk) -> None:
    conn = desk.attach(1, slots=2)
    task = desk.submit()
    desk.store.fail_next(Unavailable())
    desk.hear(conn, finished(run_of(task)))
    desk.cancel(task, 9.0)
    desk.take(conn)
    assert desk.dispatcher.free == 2


def test_what_has_time_to_end_takes_up_what_it_does(desk: Desk) -> None:
    conn = desk.attach(1, capacity={"gpu": 3})
    two = Wants(amounts={"gpu": 2})
    task, next_task = desk.submit(wants=two), desk.submit(wants=two)
    desk.take(conn)
    desk.cancel(task, 9.0)
    desk.hear(conn, heartbeat(ending=1, ending_amounts={"gpu": 2}))
    desk.take(conn)
    desk.submit(wants=Wants(amounts={"gpu": 1}))
    assert len(desk.take_runs(conn)) == 1
    desk.hear(conn, heartbeat())
    assert desk.take_runs(conn) == [run_of(next_task)]


def test_a_cancel_by_another_judicator_leaves_time_to_end(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit()
    desk.take(conn)
    run_now(desk.memory.dispatch.cancel_if_open(task, Cancellation(by="ann", grace_s=9.0)))
    desk.beat_for(6, conn, heartbeat(running=[run_of(task)]))
    assert Kill(session=S1, run=run_of(task), grace_s=9.0) in desk.take(conn)


def test_an_attempt_before_the_cancelled_one_has_no_time(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit()
    desk.hear(conn, Dead(session=S1, run=run_of(task)))
    other = desk.attach(2, name="E2")
    desk.advance(1.0)
    assert desk.take_runs(other) == [run_of(task, 2)]
    desk.cancel(task, 9.0)
    desk.take(conn)
    desk.take(other)
    for _ in range(2):
        desk.hear(conn, heartbeat(running=[run_of(task)]))
    assert desk.take(conn) == [Kill(session=S1, run=run_of(task))]


def test_a_cancel_takes_a_waiting_task_out(desk: Desk) -> None:
    task = desk.submit()
    desk.cancel(task)
    assert len(desk.dispatcher.ready) == 0
    desk.attach(1)


def test_a_cancel_by_another_judicator_kills_the_run(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit()
    desk.take(conn)
    run_now(desk.memory.dispatch.cancel_if_open(task))
    desk.beat_for(6, conn, heartbeat(running=[run_of(task)]))
    assert Kill(session=S1, run=run_of(task)) in desk.take(conn)


def test_a_kill_that_got_lost_is_repeated(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit()
    desk.cancel(task)
    desk.take(conn)
    desk.hear(conn, heartbeat(running=[run_of(task)]))
    assert desk.take(conn) == []
    desk.hear(conn, heartbeat(running=[run_of(task)]))
    assert desk.take(conn) == [Kill(session=S1, run=run_of(task))]


def test_a_run_that_was_requeued_by_mistake_goes_on(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.hear(conn, Dead(session=S1, run=run))
    desk.hear(conn, heartbeat(running=[run]))
    desk.hear(conn, heartbeat(running=[run]))
    assert desk.task(run[0]).dispatch is Dispatch.LEASED
    assert desk.task(run[0]).attempt == 1
    assert desk.take(conn) == []
    assert desk.dispatcher.free == 1
