"""A task from memory is the store's, to the last field, or it is not there."""

from __future__ import annotations

from khala.model.limits import RECENT_TASKS
from tests.unit.core.desk import Desk, finished, run_of


def test_ended_task_is_remembered_as_the_store_has_it(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    at_once, queued = desk.submit(), desk.submit()
    for task in (at_once, queued):
        desk.advance(0.5)
        desk.hear(conn, finished(run_of(task)))
        desk.take(conn)
        assert desk.dispatcher.recent.get(task) == desk.task(task)


def test_open_task_is_not_answered_from_memory(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    assert desk.dispatcher.recent.get(desk.submit()) is None
    desk.take(conn)


def test_task_that_was_adopted_is_read_from_the_store(desk: Desk) -> None:
    first = desk.attach(1, slots=1)
    run = run_of(desk.submit())
    desk.take(first)
    desk.hang_up(first)
    second = desk.attach(2, slots=1, running=[run])
    desk.hear(second, finished(run, session=2))
    desk.take(second)
    assert desk.task(run[0]).outcome is not None
    assert desk.dispatcher.recent.get(run[0]) is None


def test_memory_is_bounded(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(RECENT_TASKS + 10)]
    for task in tasks:
        desk.hear(conn, finished(run_of(task)))
        desk.take(conn)
    kept = [task for task in tasks if desk.dispatcher.recent.get(task)]
    assert kept == tasks[10:]
