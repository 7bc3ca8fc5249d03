"""Sessions: how they begin, how they end, and who notices when neither was said."""

from __future__ import annotations

from khala.core.ports import Conn
from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.executor import ExecutorRecord, Owner, SessionState
from khala.model.ids import (
    BootId,
    ExecutorName,
    Incarnation,
    JudicatorName,
    SessionNo,
    TaskId,
)
from khala.model.limits import RECONNECT_GRACE_S, SESSION_TTL_S
from khala.model.statements import Lease, NewTask, OpenSession
from khala.model.task import Dispatch
from khala.protocol.executor import (
    Kill,
    NameInUse,
    Recorded,
    Run,
    SessionLost,
    Welcome,
)
from khala.store.memory import run_now
from tests.unit.core.desk import ME, SPEC, Desk, finished, heartbeat, run_of

SILENCE_S = SESSION_TTL_S + RECONNECT_GRACE_S


def record_of(desk: Desk, name: str = "E") -> ExecutorRecord:
    return next(r for r in run_now(desk.memory.dispatch.list_executors()) if r.name == name)


def running_on_another(desk: Desk, *, boot: str = "b1") -> Run:
    """E is attached to another judicator and runs a task there."""
    opened = open_elsewhere(desk, boot=boot)
    task = NewTask(
        id=TaskId("a" * 24),
        spec=SPEC,
        submitted_at=desk.wall_time(),
        lease=Lease(
            executor=ExecutorName("E"),
            session=opened,
            claim="c",
            by=JudicatorName("K"),
        ),
    )
    return run_of(run_now(desk.memory.dispatch.accept(task)).id)


def open_elsewhere(desk: Desk, *, boot: str = "b1") -> SessionNo:
    owner = Owner(judicator=JudicatorName("K"), incarnation=Incarnation("K/1"))
    item = OpenSession(
        name=ExecutorName("E"),
        boot=BootId(boot),
        owner=owner,
        slots=2,
        version="1",
        enforcement="none",
    )
    return run_now(desk.memory.dispatch.open_session(item)).session


# ---- Hello ----------------------------------------------------------------------------------


def test_a_welcome_names_session_and_judicators(desk: Desk) -> None:
    conn = desk.hello(1)
    assert desk.take(conn) == [
        Welcome(
            session=SessionNo(1),
            boot=BootId("b1"),
            judicator=JudicatorName("J"),
            peers=["J:4000"],
            kill=[],
        )
    ]
    assert record_of(desk).state is SessionState.ONLINE


def test_what_an_executor_brings_along_goes_on(desk: Desk) -> None:
    run = running_on_another(desk)
    desk.attach(1, running=[run])
    task = desk.task(run[0])
    assert (task.dispatch, task.attempt) == (Dispatch.LEASED, 1)
    assert desk.dispatcher.free == 1


def test_what_is_no_longer_wanted_is_killed(desk: Desk) -> None:
    run = running_on_another(desk)
    run_now(desk.memory.dispatch.cancel_if_open(run[0]))
    conn = desk.hello(1, running=[run])
    welcome = desk.take(conn)[0]
    assert isinstance(welcome, Welcome)
    assert welcome.kill == [run]


def test_what_it_never_received_is_no_crash(desk: Desk) -> None:
    run = running_on_another(desk)
    conn = desk.attach(1)
    desk.advance(1)
    assert desk.task(run[0]).crashes == 0
    assert desk.take_runs(conn) == [run_of(run[0], 2)]


def test_what_died_with_its_process_is_one(desk: Desk) -> None:
    run = running_on_another(desk, boot="b0")
    conn = desk.attach(1, boot="b1")
    desk.advance(1)
    assert desk.task(run[0]).crashes == 1
    assert desk.take_runs(conn) == [run_of(run[0], 2)]


def test_a_spooled_result_keeps_its_lease_until_it_is_here(desk: Desk) -> None:
    run = running_on_another(desk, boot="b0")
    conn = desk.attach(1, boot="b1", spooled=[run])
    task = desk.task(run[0])
    assert (task.dispatch, task.attempt, task.crashes) == (Dispatch.LEASED, 1, 0)
    assert desk.dispatcher.free == 2
    desk.hear(conn, finished(run, session=2))
    assert desk.take(conn) == [Recorded(runs=[run])]
    session = desk.dispatcher.sessions.get(ExecutorName("E"))
    assert session is not None
    assert session.held == {}


def test_a_welcome_does_not_wait_for_spooled_results(desk: Desk) -> None:
    run = running_on_another(desk)
    desk.store.pass_next(2)  # S6 and the read of older leases
    desk.store.hold_next()  # S7 of the spooled one is never answered
    assert isinstance(desk.take(desk.hello(1, spooled=[run]))[0], Welcome)


def test_a_lost_spool_is_found_out(desk: Desk) -> None:
    """The lease of a result that never comes is assigned again, and answered Dead."""
    run = running_on_another(desk)
    conn = desk.attach(1, spooled=[run])
    desk.beat_for(6, conn, heartbeat(session=2))
    assert run in desk.take_runs(conn)


def test_a_second_process_of_a_name_is_refused(desk: Desk) -> None:
    first = desk.attach(1)
    second = desk.hello(2, boot="b2")
    assert desk.take(second) == [NameInUse(name=ExecutorName("E"))]
    assert desk.closed == [second]
    desk.hang_up(first)
    third = desk.hello(3, boot="b2")
    assert isinstance(desk.take(third)[0], Welcome)


def test_the_same_process_may_come_back_before_its_socket_is_gone(desk: Desk) -> None:
    first = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(first)
    second = desk.attach(2, running=[run])
    assert desk.task(run[0]).attempt == 1
    desk.hear(first, heartbeat(session=1))
    assert desk.take(first) == [SessionLost(session=SessionNo(1))]
    desk.hear(second, finished(run, session=2))
    assert desk.take(second) == [Recorded(runs=[run])]


def test_a_repeated_hello_opens_nothing(desk: Desk) -> None:
    conn = desk.attach(1)
    desk.hello(1)
    assert desk.take(conn) == []
    assert record_of(desk).session == 1


def test_an_executor_that_left_while_it_was_greeted_is_not_given_work(desk: Desk) -> None:
    gate = desk.store.hold_next()
    conn = desk.hello(1)
    desk.hang_up(conn)
    gate.release()
    desk.settle()
    assert desk.take(conn) == []
    assert desk.dispatcher.free == 0
    desk.advance(RECONNECT_GRACE_S + 1)
    assert record_of(desk).state is SessionState.LOST


def test_adoption_is_repeated_until_it_is_known(desk: Desk) -> None:
    run = running_on_another(desk)
    desk.store.pass_next(1)  # S6
    desk.store.fail_next(OutcomeUnknown())
    conn = desk.hello(1, running=[run])
    assert desk.take(conn) == []
    desk.advance(1)
    welcome = desk.take(conn)[0]
    assert isinstance(welcome, Welcome)
    assert welcome.kill == []


def test_adoption_ends_with_the_connection(desk: Desk) -> None:
    run = running_on_another(desk)
    desk.store.pass_next(1)  # S6
    desk.store.fail_next(Unavailable())
    conn = desk.hello(1, running=[run])
    desk.hang_up(conn)
    desk.store.fail_next(Unavailable())
    desk.advance(1)
    session = desk.dispatcher.sessions.get(ExecutorName("E"))
    assert session is not None
    assert session.conn is None


def test_an_overtaken_hello_changes_nothing(desk: Desk) -> None:
    gate = desk.store.hold_next()
    first = desk.hello(1)
    second = desk.attach(2)
    gate.release()
    desk.settle()
    assert desk.take(first) == []
    session = desk.dispatcher.sessions.get(ExecutorName("E"))
    assert session is not None
    assert session.conn == second


def test_an_opening_in_doubt_closes_the_connection(desk: Desk) -> None:
    desk.store.fail_next(OutcomeUnknown())
    conn = desk.hello(1)
    assert desk.closed == [conn]
    assert desk.take(conn) == []


def test_a_session_that_was_opened_unseen_is_lost_in_the_end(desk: Desk) -> None:
    desk.store.fail_next(OutcomeUnknown(), lands=True)
    desk.hello(1)
    assert record_of(desk).state is SessionState.ONLINE
    desk.advance(RECONNECT_GRACE_S + 6)
    assert record_of(desk).state is SessionState.LOST


def test_a_session_that_was_opened_unseen_may_be_followed_by_another(desk: Desk) -> None:
    desk.store.fail_next(OutcomeUnknown(), lands=True)
    desk.hello(1)
    conn = desk.attach(2)
    desk.beat_for(RECONNECT_GRACE_S + 6, conn, heartbeat(session=2))
    assert record_of(desk).state is SessionState.ONLINE
    assert desk.take(conn) == []


# ---- expiry ---------------------------------------------------------------------------------


def test_silence_ends_a_session(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.advance(SILENCE_S - 1)
    assert record_of(desk).state is SessionState.ONLINE
    desk.advance(2)
    assert record_of(desk).state is SessionState.LOST
    task = desk.task(run[0])
    assert (task.dispatch, task.crashes) == (Dispatch.QUEUED, 1)


def test_a_closed_socket_ends_it_sooner(desk: Desk) -> None:
    conn = desk.attach(1)
    desk.hang_up(conn)
    desk.advance(RECONNECT_GRACE_S - 1)
    assert record_of(desk).state is SessionState.ONLINE
    desk.advance(2)
    assert record_of(desk).state is SessionState.LOST


def test_the_judicators_own_pause_is_nobodys_silence(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.advance(1)
    desk.advance(10 * SILENCE_S, ticks=False)
    desk.hear(conn, heartbeat(running=[run]))
    desk.advance(1)
    assert record_of(desk).state is SessionState.ONLINE
    assert desk.task(run[0]).crashes == 0
    assert desk.take(conn) == []


def test_expiry_is_repeated_until_it_is_known(desk: Desk) -> None:
    desk.hang_up(desk.attach(1))
    desk.advance(RECONNECT_GRACE_S - 0.5)
    for _ in range(3):
        desk.store.fail_next(OutcomeUnknown())
    desk.advance(3)
    assert record_of(desk).state is SessionState.LOST


def test_an_executor_that_lives_elsewhere_did_not_crash(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.hang_up(conn)
    open_elsewhere(desk)
    desk.spawn(desk.recovery.expire(ExecutorName("E"), SessionNo(1)))
    desk.settle()
    task = desk.task(run[0])
    assert (task.dispatch, task.crashes) == (Dispatch.QUEUED, 0)


# ---- audits ---------------------------------------------------------------------------------


def test_a_session_that_was_taken_over_is_told_so(desk: Desk) -> None:
    conn = desk.attach(1)
    open_elsewhere(desk)
    desk.beat_for(6, conn, heartbeat())
    assert SessionLost(session=SessionNo(1)) in desk.take(conn)
    assert desk.dispatcher.sessions.get(ExecutorName("E")) is None


def test_a_session_that_was_declared_lost_is_told_so(desk: Desk) -> None:
    conn = desk.attach(1)
    run_now(desk.memory.dispatch.expire_session(ExecutorName("E"), SessionNo(1)))
    desk.beat_for(6, conn, heartbeat())
    assert SessionLost(session=SessionNo(1)) in desk.take(conn)


def test_an_audit_that_fails_changes_nothing(desk: Desk) -> None:
    conn = desk.attach(1)
    run = run_of(desk.submit())
    desk.take(conn)
    desk.store.pass_next(1)  # the scan
    desk.store.fail_next(Unavailable())
    desk.advance(0.5)
    desk.beat_for(2, conn, heartbeat(running=[run]))
    assert desk.take(conn) == []


def test_a_lease_in_flight_is_not_taken_for_ended(desk: Desk) -> None:
    conn = desk.attach(1)
    gate = desk.store.hold_next()
    task = desk.submit()
    desk.advance(0.5)
    gate.release()
    desk.settle()
    assert desk.take_runs(conn) == [run_of(task)]
    assert desk.dispatcher.free == 1


def lead(desk: Desk, *alive: Incarnation) -> None:
    desk.spawn(desk.recovery.lead_once(alive))
    desk.settle()


def test_the_leader_requeues_what_it_has_seen_wrong_twice(desk: Desk) -> None:
    run = running_on_another(desk)
    open_elsewhere(desk)
    alive = Incarnation("K/1")
    lead(desk, ME, alive)
    assert desk.task(run[0]).dispatch is Dispatch.LEASED
    lead(desk, ME, alive)
    task = desk.task(run[0])
    assert (task.dispatch, task.crashes) == (Dispatch.QUEUED, 0)


def test_the_leader_expires_the_sessions_of_a_judicator_that_is_gone(desk: Desk) -> None:
    run = running_on_another(desk)
    lead(desk, ME)
    desk.advance(SILENCE_S - 1)
    lead(desk, ME)
    assert record_of(desk).state is SessionState.ONLINE
    desk.advance(2)
    lead(desk, ME)
    assert record_of(desk).state is SessionState.LOST
    task = desk.task(run[0])
    assert (task.dispatch, task.crashes) == (Dispatch.QUEUED, 1)


def test_a_judicator_that_comes_back_keeps_its_sessions(desk: Desk) -> None:
    running_on_another(desk)
    lead(desk, ME)
    desk.advance(SILENCE_S - 1)
    lead(desk, ME, Incarnation("K/1"))
    desk.advance(2)
    lead(desk, ME)
    assert record_of(desk).state is SessionState.ONLINE


def test_a_run_of_a_cancelled_task_is_killed_after_a_reconnect(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit()
    desk.take(conn)
    desk.hang_up(conn)
    desk.cancel(task)
    again = desk.attach(2)
    for _ in range(2):
        desk.hear(again, heartbeat(session=2, running=[run_of(task)]))
    assert desk.take(again) == [Kill(session=SessionNo(2), run=run_of(task))]
    assert desk.take(Conn(1)) == []
