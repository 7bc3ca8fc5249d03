"""Attempts given ahead: only to an executor whose attempts are short, and never for long."""

from __future__ import annotations

from khala.core.ports import Conn
from khala.model.ids import SessionNo
from khala.model.limits import SHORT_ATTEMPT_S
from khala.protocol.executor import Assign, Refused, Run
from tests.unit.core.desk import Desk, finished, heartbeat, run_of


def given(desk: Desk, conn: Conn) -> list[Run]:
    """The runs assigned since the last look."""
    return [message.run for message in desk.take(conn) if isinstance(message, Assign)]


def test_nothing_is_given_ahead_before_anything_is_known(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    first, _ = desk.submit(), desk.submit()
    assert given(desk, conn) == [run_of(first)]


def test_short_attempts_earn_as_many_ahead_as_there_are_slots(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(4)]
    desk.hear(conn, finished(run_of(tasks[0])))
    assert given(desk, conn) == [run_of(task) for task in tasks[:3]]


def test_a_long_attempt_ends_it(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(4)]
    desk.hear(conn, finished(run_of(tasks[0])))
    running = [run_of(task) for task in tasks[1:3]]
    desk.beat_for(SHORT_ATTEMPT_S + 0.1, conn, heartbeat(running=running))
    desk.hear(conn, finished(running[0]))
    assert run_of(tasks[3]) not in given(desk, conn)


def test_an_attempt_that_came_back_ends_it(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(4)]
    desk.hear(conn, finished(run_of(tasks[0])))
    assert given(desk, conn) == [run_of(task) for task in tasks[:3]]
    desk.hear(conn, Refused(session=SessionNo(1), run=run_of(tasks[2]), why="busy", waited=True))
    assert given(desk, conn) == []
    # Nothing was wrong with the task: the same executor may have it at once.
    desk.hear(conn, finished(run_of(tasks[1])))
    assert given(desk, conn) == [run_of(tasks[3])]
    desk.hear(conn, finished(run_of(tasks[3])))
    desk.advance(1)
    assert given(desk, conn) == [run_of(tasks[2], 2)]


def test_a_free_slot_elsewhere_comes_first(desk: Desk) -> None:
    quick = desk.attach(1, name="E1", slots=1)
    desk.hear(quick, finished(run_of(desk.submit())))
    busy = desk.submit()
    idle = desk.attach(2, name="E2", slots=1)
    third, fourth = desk.submit(), desk.submit()
    assert given(desk, idle) == [run_of(third)]
    assert given(desk, quick)[-2:] == [run_of(busy), run_of(fourth)]
