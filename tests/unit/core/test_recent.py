"""A task from memory is the store's, to the last field, or it is not there."""

from __future__ import annotations

from msgspec.structs import replace

from khala.model.limits import RECENT_ARTIFACTS, RECENT_TASKS
from khala.model.outcome import ArtifactRef, Artifacts
from tests.unit.core.desk import Desk, finished, run_of


def test_ended_task_is_remembered_as_the_store_has_it(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    at_once, queued, keyed = desk.submit(), desk.submit(), desk.submit(key="k")
    for task in (at_once, queued, keyed):
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


def test_a_long_list_of_artifacts_is_not_kept_in_memory(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    file = ArtifactRef(name=b"n", size_bytes=1, sha256=b"s" * 32, crc32=0, modified_s=0)
    for count, kept in ((RECENT_ARTIFACTS, True), (RECENT_ARTIFACTS + 1, False)):
        task = desk.submit()
        message = finished(run_of(task))
        artifacts = Artifacts(chunk_bytes=1, files=(file,) * count)
        outcome = replace(message.outcome, artifacts=artifacts)
        desk.hear(conn, replace(message, outcome=outcome))
        desk.take(conn)
        assert desk.task(task).outcome == outcome
        assert (desk.dispatcher.recent.get(task) is not None) is kept


def test_memory_is_bounded(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    tasks = [desk.submit() for _ in range(RECENT_TASKS + 10)]
    for task in tasks:
        desk.hear(conn, finished(run_of(task)))
        desk.take(conn)
    kept = [task for task in tasks if desk.dispatcher.recent.get(task)]
    assert kept == tasks[10:]
