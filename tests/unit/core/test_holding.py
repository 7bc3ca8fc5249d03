"""Tasks that are held, and how they join the queue."""

from __future__ import annotations

from datetime import timedelta

from khala.model.holds import Hold, HoldKey
from khala.model.limits import DUE_INTERVAL_S
from khala.model.outcome import Reason
from khala.model.statements import Lift
from khala.model.task import Dispatch, TaskState
from tests.unit.core.desk import Desk, heartbeat, run_of

KEY = HoldKey("after:it")


def test_what_is_held_is_not_given_away(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit(hold=Hold(keys=(KEY,)))
    desk.advance(5)
    assert desk.task(task).dispatch is Dispatch.HELD
    assert desk.announced[-1].state is TaskState.QUEUED
    assert desk.take_runs(conn) == []


def test_it_runs_when_its_date_has_come(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit(hold=Hold(until=desk.wall_time() + timedelta(seconds=3)))
    desk.advance(2)
    assert desk.take_runs(conn) == []
    desk.advance(1 + 2 * DUE_INTERVAL_S)
    assert desk.take_runs(conn) == [run_of(task)]


def test_no_leader_is_needed_for_what_another_judicator_accepted(desk: Desk) -> None:
    conn = desk.attach(1)
    hold = Hold(until=desk.wall_time() + timedelta(seconds=1))
    task = desk.submit_elsewhere(hold=hold)
    desk.advance(1 + 3 * DUE_INTERVAL_S)
    assert desk.take_runs(conn) == [run_of(task)]


def test_what_is_lifted_is_looked_for_at_once(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit(hold=Hold(keys=(KEY,)))
    desk.advance(5)
    desk.spawn(desk.dispatcher.holding.lift([Lift(id=task, key=KEY)]))
    desk.settle()
    desk.tick()
    assert desk.take_runs(conn) == [run_of(task)]


def test_a_look_that_fails_is_repeated(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit(hold=Hold(until=desk.wall_time()))
    desk.store.hides_due = True
    desk.advance(5)
    assert desk.task(task).dispatch is Dispatch.HELD
    desk.store.hides_due = False
    desk.advance(1)
    assert desk.take_runs(conn) == [run_of(task)]


def test_what_waits_too_long_ends_and_is_not_given_to_anybody(desk: Desk) -> None:
    task = desk.submit(queue_ttl_s=3.0)
    desk.advance(2.5)
    assert desk.task(task).dispatch is Dispatch.QUEUED
    desk.advance(2)
    outcome = desk.task(task).outcome
    assert outcome is not None and outcome.reason is Reason.QUEUE_TTL
    assert "3 s" in (outcome.note or "")
    conn = desk.attach(1)
    desk.advance(2)
    assert desk.take(conn) == []
    assert len(desk.dispatcher.ready) == 0


def test_what_is_held_too_long_ends_as_well(desk: Desk) -> None:
    task = desk.submit(hold=Hold(keys=(KEY,)), queue_ttl_s=1.0)
    desk.advance(2.5)
    assert desk.task(task).dispatch is Dispatch.DONE


def test_what_has_begun_runs_as_long_as_it_likes(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit(queue_ttl_s=1.0)
    assert desk.take_runs(conn) == [run_of(task)]
    desk.beat_for(3, conn, heartbeat(running=[run_of(task)]))
    assert desk.task(task).dispatch is Dispatch.LEASED
