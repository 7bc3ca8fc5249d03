"""At the deadline of a drain, what runs on an executor runs elsewhere."""

from __future__ import annotations

from datetime import timedelta

from khala.core.facts import AttemptReturned
from khala.model.errors import Unavailable
from khala.model.executor import Cordon
from khala.model.ids import ExecutorName, SessionNo
from khala.model.outcome import Reason
from khala.model.task import Dispatch
from khala.protocol.executor import Kill, Recorded
from khala.store.memory import run_now
from tests.unit.core.desk import Desk, finished, heartbeat, run_of

S1 = SessionNo(1)
#: Past the owner's next audit, whichever judicator was asked.
AUDITED_S = 12.0


def drain(desk: Desk, *, deadline_s: float | None, name: str = "E") -> None:
    """Asked of another judicator: this one learns it from the store."""
    now = desk.wall_time()
    deadline = None if deadline_s is None else now + timedelta(seconds=deadline_s)
    cordon = Cordon(reason="", since=now, deadline=deadline)
    run_now(desk.memory.sessions.set_cordon(ExecutorName(name), cordon))


def test_a_running_task_is_given_back_at_the_deadline_and_runs_elsewhere(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    task = desk.submit()
    desk.take(conn)
    drain(desk, deadline_s=AUDITED_S + 5)
    desk.beat_for(AUDITED_S, conn, heartbeat(running=[run_of(task)]))
    assert desk.take(conn) == []
    desk.advance(6)
    assert desk.take(conn) == [Kill(session=S1, run=run_of(task))]
    assert desk.facts == [AttemptReturned(crash=False, drained=True)]
    found = desk.task(task)
    assert (found.dispatch, found.attempt, found.crashes) == (Dispatch.QUEUED, 1, 0)
    other = desk.attach(2, name="F", slots=1)
    assert desk.take_runs(other) == [run_of(task, 2)]


def test_a_cordon_alone_leaves_it_where_it_is(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    task = desk.submit()
    desk.take(conn)
    drain(desk, deadline_s=None)
    desk.beat_for(AUDITED_S * 3, conn, heartbeat(running=[run_of(task)]))
    assert desk.take(conn) == []
    assert desk.task(task).dispatch is Dispatch.LEASED


def test_what_is_not_given_back_is_not_killed(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    task = desk.submit()
    desk.take(conn)
    drain(desk, deadline_s=AUDITED_S + 5)
    desk.beat_for(AUDITED_S, conn, heartbeat(running=[run_of(task)]))
    session = desk.dispatcher.sessions.get(ExecutorName("E"))
    assert session is not None and session.cordon is not None
    desk.clock.run(desk.clock.now + 6)
    desk.store.fail_next(Unavailable("no primary"))
    desk.recovery.on_tick()
    desk.settle()
    assert desk.take(conn) == []
    desk.recovery.on_tick()
    desk.settle()
    assert desk.take(conn) == [Kill(session=S1, run=run_of(task))]


def test_a_result_that_comes_first_is_the_tasks(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    task = desk.submit()
    desk.take(conn)
    drain(desk, deadline_s=AUDITED_S + 5)
    desk.beat_for(AUDITED_S, conn, heartbeat(running=[run_of(task)]))
    desk.clock.run(desk.clock.now + 6)
    gate = desk.store.hold_next()
    desk.recovery.on_tick()
    desk.settle()
    desk.hear(conn, finished(run_of(task)))
    gate.release()
    desk.settle()
    outcome = desk.task(task).outcome
    assert outcome is not None and outcome.reason is Reason.OK
    assert Recorded(runs=[run_of(task)]) in desk.take(conn)


def test_what_waits_runs_when_the_cordon_is_lifted(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    drain(desk, deadline_s=None)
    desk.beat_for(AUDITED_S, conn, heartbeat())
    waiting = desk.submit()
    desk.beat_for(AUDITED_S, conn, heartbeat())
    assert desk.take_runs(conn) == []
    run_now(desk.memory.sessions.set_cordon(ExecutorName("E"), None))
    desk.beat_for(AUDITED_S, conn, heartbeat())
    assert set(desk.take_runs(conn)) == {run_of(waiting)}
