"""Versions side by side: what a task makes use of, its executor knows."""

from __future__ import annotations

from khala.model.capabilities import CAPABILITY
from khala.model.ids import AttemptNo, ExecutorName, JudicatorName, SessionNo, TaskId
from khala.model.limits import AUDIT_INTERVAL_S, OWN_SCAN_ITEMS, REASSIGN_S
from khala.model.statements import Lease, LeaseItem
from khala.model.task import Dispatch
from khala.protocol.executor import Hello, Refused
from khala.store.memory import run_now
from tests.unit.core.desk import Desk, finished, heartbeat, run_of
from tests.unit.core.rig import Rig, run_no
from tests.unit.core.test_ahead import given


def test_a_task_goes_to_an_executor_that_knows_what_it_uses(desk: Desk) -> None:
    old = desk.attach(1, name="A", slots=9, speaks=0)
    new = desk.attach(2, name="B", slots=2)
    task = desk.submit(needs=1)
    assert desk.take_runs(new) == [run_of(task)]
    plain = desk.submit()
    assert desk.take_runs(old) == [run_of(plain)]


def test_what_waits_for_a_newer_executor_holds_up_nothing(desk: Desk) -> None:
    conn = desk.attach(1, slots=1, speaks=0)
    waiting = [desk.submit(needs=1) for _ in range(3)]
    first, second = desk.submit(), desk.submit()
    assert desk.take_runs(conn) == [run_of(first)]
    desk.hear(conn, finished(run_of(first)))
    assert given(desk, conn) == [run_of(second)]
    assert desk.task(waiting[0]).attempt == 0
    newer = desk.attach(2, name="B", slots=1)
    desk.advance(1)
    assert desk.take_runs(newer) == [run_of(waiting[0])]


def test_a_long_queue_for_newer_executors_does_not_hide_the_rest(desk: Desk) -> None:
    for _ in range(2 * OWN_SCAN_ITEMS):
        desk.submit_elsewhere(needs=1)
    plain = desk.submit_elsewhere()
    old = desk.attach(1, slots=1, speaks=0)
    desk.advance(1)
    assert desk.take_runs(old) == [run_of(plain)]


def test_a_newer_executor_is_not_kept_busy_with_what_all_could_run(desk: Desk) -> None:
    """Only the store has what waited for it, and no slot is ever free when somebody looks."""
    old = desk.attach(1, name="A", slots=1, speaks=0)
    waiting = desk.submit(needs=1)
    desk.advance(1)
    for _ in range(8):
        desk.submit()
    conn = desk.attach(2, name="B", slots=1)
    order: list[TaskId] = []
    while waiting not in order and (runs := given(desk, conn)):
        order.append(runs[0][0])
        desk.beat_for(1, conn, heartbeat(running=runs))
        desk.hear(conn, finished(runs[0]))
    assert waiting in order[:3]
    desk.take(conn)
    desk.take(old)


def test_a_judicator_leaves_alone_what_it_does_not_know_itself(desk: Desk) -> None:
    """It has read the task without the part that it does not know."""
    conn = desk.attach(1, slots=9, speaks=CAPABILITY + 1)
    task = desk.submit_elsewhere(needs=CAPABILITY + 1)
    desk.submit(needs=CAPABILITY + 1)
    desk.advance(2)
    assert desk.take_runs(conn) == []
    assert desk.task(task).attempt == 0


def test_a_lease_of_a_newer_judicator_is_given_back(desk: Desk) -> None:
    """It landed after its executor had come here, which therefore never heard of it."""
    conn = desk.attach(1, slots=9, speaks=CAPABILITY + 1)
    task = desk.submit_elsewhere(needs=CAPABILITY + 1)
    lease = Lease(
        executor=ExecutorName("E"), session=SessionNo(1), claim="c", by=JudicatorName("other")
    )
    run_now(
        desk.memory.dispatch.lease_if_queued(LeaseItem(id=task, attempt=AttemptNo(0), lease=lease))
    )
    desk.beat_for(2 * AUDIT_INTERVAL_S + REASSIGN_S, conn, heartbeat())
    assert given(desk, conn) == []
    assert desk.task(task).dispatch is Dispatch.QUEUED
    assert desk.task(task).crashes == 0


def test_an_executor_says_what_it_speaks(rig: Rig) -> None:
    rig.agent.on_connected()
    [hello] = rig.take()
    assert isinstance(hello, Hello)
    assert hello.speaks == CAPABILITY


def test_an_executor_refuses_what_is_newer(rig: Rig) -> None:
    rig.online()
    rig.assign(run_no(1), needs=CAPABILITY + 1)
    [refused] = rig.take()
    assert isinstance(refused, Refused)
    assert "older than the task" in refused.why
    rig.assign(run_no(2), needs=CAPABILITY)
    assert rig.take_orders() == [("start", run_no(2))]
