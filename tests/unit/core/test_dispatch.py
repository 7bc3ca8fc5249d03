"""Tasks that are submitted, and who is given them."""

from __future__ import annotations

import pytest

from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.ids import SessionNo
from khala.model.limits import (
    REASSIGN_S,
    STRANGER_AGE_S,
)
from khala.model.statements import AcceptResult
from khala.model.task import Dispatch, TaskState
from khala.protocol.executor import (
    Dead,
    HeartbeatAck,
    Kill,
    Recorded,
)
from khala.store.memory import run_now
from tests.unit.core.desk import Desk, finished, heartbeat, run_of

S1 = SessionNo(1)


# ---- submit ---------------------------------------------------------------------------------


def test_a_free_slot_gets_the_task_with_its_acceptance(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit()
    assert desk.take_runs(conn) == [run_of(task)]
    assert desk.task(task).dispatch is Dispatch.LEASED
    assert desk.announced[-1].state is TaskState.STARTING


def test_without_executors_a_task_waits(desk: Desk) -> None:
    task = desk.submit()
    assert desk.task(task).dispatch is Dispatch.QUEUED
    conn = desk.attach(1)
    assert desk.take_runs(conn) == [run_of(task)]


def test_tasks_leave_in_the_order_they_came(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    first, second, third = desk.submit(), desk.submit(), desk.submit()
    assert desk.take_runs(conn) == [run_of(first)]
    desk.hear(conn, finished(run_of(first)))
    desk.hear(conn, finished(run_of(second)))
    assert [message for message in desk.take(conn) if isinstance(message, Recorded)] == [
        Recorded(runs=[run_of(first)]),
        Recorded(runs=[run_of(second)]),
    ]
    assert desk.task(third).dispatch is Dispatch.LEASED


def test_the_roomiest_executor_is_next(desk: Desk) -> None:
    small, large = desk.attach(1, name="E1", slots=1), desk.attach(2, name="E2", slots=2)
    tasks = [desk.submit() for _ in range(3)]
    assert desk.take_runs(large)[0] == run_of(tasks[0])
    assert len(desk.take_runs(small)) == 1


def test_a_replay_takes_no_slot(desk: Desk) -> None:
    conn = desk.attach(1)
    first = desk.submit(key="k")
    desk.submit(key="k")
    assert desk.answers == [
        AcceptResult(id=first, replay=False),
        AcceptResult(id=first, replay=True),
    ]
    assert desk.take_runs(conn) == [run_of(first)]
    assert desk.dispatcher.free == 1


def test_an_acceptance_in_doubt_is_said_and_its_lease_found(desk: Desk) -> None:
    conn = desk.attach(1)
    desk.store.fail_next(OutcomeUnknown(), lands=True)
    task = desk.submit()
    assert isinstance(desk.answers[0], OutcomeUnknown)
    assert desk.dispatcher.free == 2
    desk.beat_for(9, conn, heartbeat())
    assert run_of(task) in desk.take_runs(conn)


def test_a_refused_acceptance_leaves_nothing(desk: Desk) -> None:
    desk.attach(1)
    desk.store.fail_next(Unavailable())
    desk.submit()
    assert isinstance(desk.answers[0], Unavailable)
    assert desk.dispatcher.free == 2


# ---- leases ---------------------------------------------------------------------------------


def test_a_lost_race_for_a_task_frees_the_slot(desk: Desk) -> None:
    task = desk.submit()
    run_now(desk.memory.dispatch.cancel_if_open(task))
    desk.attach(1)
    assert desk.dispatcher.free == 2


def test_tasks_of_other_judicators_are_found(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit_elsewhere()
    desk.advance(STRANGER_AGE_S / 2)
    assert desk.take(conn) == []
    desk.advance(2 * STRANGER_AGE_S)
    assert desk.take_runs(conn) == [run_of(task)]


def test_a_session_that_ended_gives_the_lease_in_flight_back(desk: Desk) -> None:
    task = desk.submit()
    desk.store.pass_next(2)  # S6 and the read of older leases
    gate = desk.store.hold_next()
    first = desk.attach(1)
    desk.hang_up(first)
    second = desk.attach(2)
    gate.release()
    desk.settle()
    desk.advance(1)
    assert desk.take_runs(second) == [run_of(task, 2)]


def test_a_cancel_between_lease_and_answer_is_not_overtaken(desk: Desk) -> None:
    conn = desk.attach(1)
    gate = desk.store.hold_next()
    task = desk.submit()
    desk.cancel(task)
    gate.release()
    desk.settle()
    assert desk.take(conn) == [Kill(session=S1, run=run_of(task))]
    assert desk.dispatcher.free == 2


def test_a_lost_assignment_is_repeated_until_it_is_seen(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    assert desk.take_runs(conn) == [run]
    desk.beat_for(REASSIGN_S, conn, heartbeat())
    assert desk.take(conn) == []
    desk.beat_for(2, conn, heartbeat())
    assert desk.take_runs(conn) == [run]
    desk.beat_for(30, conn, heartbeat(running=[run]))
    assert desk.take(conn) == []


def test_seen_once_is_not_for_ever(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.hear(conn, heartbeat(running=[run]))
    desk.beat_for(REASSIGN_S + 2, conn, heartbeat())
    assert desk.take_runs(conn) == [run]


@pytest.mark.parametrize("moved", ["done", "requeued"])
def test_a_found_lease_that_has_moved_on_is_not_assigned(desk: Desk, moved: str) -> None:
    conn = desk.attach(1)
    desk.store.fail_next(OutcomeUnknown(), lands=True)
    run = run_of(desk.submit())
    desk.hear(conn, heartbeat())
    desk.store.pass_next(1)  # the scan
    gate = desk.store.hold_next()  # the audit has read, its answer is late
    desk.advance(0.5)
    if moved == "done":
        desk.hear(conn, finished(run))
        assert desk.take(conn) == [Recorded(runs=[run])]
    else:
        desk.hear(conn, Dead(session=S1, run=run))
    gate.release()
    desk.settle()
    assert desk.dispatcher.free == 1  # the audit believes in it
    desk.beat_for(4, conn, heartbeat())
    assert run not in desk.take_runs(conn)


def test_an_executor_that_takes_nothing_gets_nothing(desk: Desk) -> None:
    conn = desk.attach(1)
    desk.hear(conn, heartbeat(accepts=False))
    desk.submit()
    desk.advance(1)
    assert desk.take(conn) == []
    desk.hear(conn, heartbeat())
    assert len(desk.take_runs(conn)) == 1


def test_a_judicator_that_cannot_write_assigns_nothing(desk: Desk) -> None:
    conn = desk.attach(1)
    desk.dispatcher.serving = False
    desk.submit()
    desk.advance(1)
    desk.hear(conn, heartbeat())
    acks = [message for _, message in desk.sent if isinstance(message, HeartbeatAck)]
    assert [ack.serving for ack in acks] == [False]
    assert desk.take(conn) == []
