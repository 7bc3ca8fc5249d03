"""First come, first served: also for what was given back, and after a restart."""

from __future__ import annotations

from khala.core.ports import Conn
from khala.model.ids import SessionNo, TaskId
from khala.model.limits import PEEK_INTERVAL_S, REFUSAL_PAUSE_S
from khala.model.order import AGEING_S
from khala.protocol.executor import Dead, Refused
from tests.unit.core.desk import Desk, finished, heartbeat, run_of
from tests.unit.core.test_ahead import given


def test_a_task_that_was_given_back_does_not_wait_for_the_others(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(50)]
    desk.hear(conn, Dead(session=SessionNo(1), run=run_of(tasks[0])))
    # One at a time, and none of them short, so that there is always a backlog.
    order = given(desk, conn)
    for _ in range(12):
        desk.beat_for(REFUSAL_PAUSE_S / 5, conn, heartbeat(running=[order[-1]]))
        desk.hear(conn, finished(order[-1]))
        order += given(desk, conn)
    assert run_of(tasks[0], 2) in order
    # The pause after a loss passed first; everything else kept its order.
    others = [run for run in order if run[0] != tasks[0]]
    assert others == [run_of(task) for task in tasks[1 : len(others) + 1]]


def test_a_queue_found_in_the_store_is_served_in_its_order_without_a_scan_for_each(
    desk: Desk,
) -> None:
    tasks = [desk.submit_elsewhere() for _ in range(30)]
    desk.advance(1)
    conn = desk.attach(1, slots=1)
    desk.advance(0.3)
    order = given(desk, conn)
    while len(order) < 30 and order:
        desk.hear(conn, finished(order[-1]))
        fresh = given(desk, conn)
        if not fresh:
            break
        order += fresh
    assert [run[0] for run in order[:20]] == tasks[:20]


def test_a_refused_task_does_not_hide_what_is_behind_it(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    first, second = desk.submit(), desk.submit()
    assert given(desk, conn) == [run_of(first)]
    desk.hear(conn, Refused(session=SessionNo(1), run=run_of(first), why="disk"))
    desk.advance(0.5)
    assert given(desk, conn) == [run_of(second)]


def test_a_higher_priority_goes_first(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    running, plain = desk.submit(), desk.submit()
    low, urgent = desk.submit(priority=-1), desk.submit(priority=1)
    assert _served(desk, conn, 4) == [running, urgent, plain, low]


def test_nothing_is_overtaken_for_ever(desk: Desk) -> None:
    """A point of priority is worth a minute of waiting, and no more."""
    conn = desk.attach(1, slots=1)
    running, plain = desk.submit(), desk.submit()
    desk.beat_for(AGEING_S / 2, conn, heartbeat(running=[run_of(running)]))
    soon = desk.submit(priority=1)
    desk.beat_for(AGEING_S, conn, heartbeat(running=[run_of(running)]))
    late = desk.submit(priority=1)
    assert _served(desk, conn, 4) == [running, soon, plain, late]


def test_an_urgent_task_of_another_judicator_does_not_wait_for_ours(desk: Desk) -> None:
    """Its executors are busy, ours never idle."""
    conn = desk.attach(1, slots=1)
    running = desk.submit()
    for _ in range(20):
        desk.submit()
    urgent = desk.submit_elsewhere(priority=5)
    desk.beat_for(PEEK_INTERVAL_S + 1, conn, heartbeat(running=[run_of(running)]))
    assert _served(desk, conn, 2) == [running, urgent]


def _served(desk: Desk, conn: Conn, count: int) -> list[TaskId]:
    """The next tasks of an executor with one slot, one after the other."""
    order: list[TaskId] = []
    while len(order) < count:
        [run] = given(desk, conn)
        order.append(run[0])
        desk.beat_for(1, conn, heartbeat(running=[run]))
        desk.hear(conn, finished(run))
    desk.take(conn)
    return order
