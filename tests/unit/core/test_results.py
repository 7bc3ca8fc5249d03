"""Results and progress: recorded once, by the attempt whose number stands."""

from __future__ import annotations

from khala.core.facts import AttemptRecorded
from khala.core.ports import Conn
from khala.model.errors import OutcomeUnknown
from khala.model.ids import SessionNo
from khala.model.limits import (
    REFUSAL_PAUSE_S,
)
from khala.model.task import Dispatch, Progress, TaskState
from khala.protocol.executor import (
    Abandon,
    Dead,
    ProgressReport,
    Recorded,
    Refused,
    SessionLost,
)
from tests.unit.core.desk import DONE, Desk, finished, heartbeat, run_of

S1 = SessionNo(1)


def test_a_result_is_recorded_once(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.hear(conn, finished(run))
    desk.hear(conn, finished(run))
    assert desk.take(conn) == [Recorded(runs=[run]), Recorded(runs=[run])]
    assert desk.task(run[0]).outcome == DONE
    assert desk.announced[-1].state is TaskState.SUCCEEDED
    assert desk.dispatcher.free == 2
    (fact,) = desk.facts
    assert isinstance(fact, AttemptRecorded)
    assert (fact.task.id, fact.outcome) == (run[0], DONE)
    assert fact.started_at is not None
    assert fact.task.submitted_at <= fact.started_at <= fact.recorded_at


def test_a_result_under_way_is_not_sent_to_the_store_twice(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    gate = desk.store.hold_next()
    desk.hear(conn, finished(run))
    desk.hear(conn, finished(run))
    gate.release()
    desk.settle()
    assert desk.take(conn) == [Recorded(runs=[run])]


def test_a_result_of_an_older_attempt_is_abandoned(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.hear(conn, Refused(session=S1, run=run, why="no"))
    desk.take(conn)
    desk.advance(REFUSAL_PAUSE_S + 1)
    assert desk.take_runs(conn) == [run_of(run[0], 2)]
    desk.hear(conn, finished(run))
    assert desk.take(conn) == [Abandon(runs=[run])]


def test_a_late_result_counts_while_its_number_stands(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.hear(conn, Dead(session=S1, run=run))
    assert desk.task(run[0]).dispatch is Dispatch.QUEUED
    desk.take(conn)
    desk.hear(conn, finished(run))
    assert desk.take(conn) == [Recorded(runs=[run])]


def test_a_result_that_could_not_be_written_is_taken_again(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.store.fail_next(OutcomeUnknown())
    desk.hear(conn, finished(run))
    assert desk.take(conn) == []
    assert desk.dispatcher.free == 2
    desk.hear(conn, finished(run))
    assert desk.take(conn) == [Recorded(runs=[run])]


def test_a_result_counts_without_a_session_and_nothing_else_does(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    stranger = Conn(9)
    desk.hear(stranger, finished(run, session=7))
    desk.hear(stranger, heartbeat(session=7))
    assert desk.take(stranger) == [Recorded(runs=[run]), SessionLost(session=SessionNo(7))]


def test_progress_is_stored_and_announced(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.hear(conn, ProgressReport(session=S1, run=run, progress=Progress.COMPILING))
    assert desk.task(run[0]).state is TaskState.COMPILING
    desk.hear(conn, finished(run))
    desk.hear(conn, ProgressReport(session=S1, run=run, progress=Progress.RUNNING))
    assert [brief.state for brief in desk.announced] == ["starting", "compiling", "succeeded"]
    assert desk.take(conn) == [Recorded(runs=[run])]
