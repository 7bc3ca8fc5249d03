"""What a person changes of a task, a judicator that had it in memory does not act on any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from khala.model.errors import Changed, KhalaError, NotFound, NotWaiting, OutcomeUnknown, Rejected
from khala.model.holds import RELEASE, Hold, HoldKey
from khala.model.ids import TaskId, mint_task_id
from khala.model.limits import LABELS, PEEK_INTERVAL_S
from khala.model.outcome import Reason
from khala.model.patch import Patch
from khala.model.statements import Lift
from khala.model.task import Dispatch, Task
from khala.store.memory import run_now
from tests.unit.core.desk import Desk, finished, heartbeat, run_of
from tests.unit.core.test_ahead import given

KEY = HoldKey("after:x")


def patch(desk: Desk, task: TaskId, wanted: Patch) -> Task:
    """Answered at once."""
    answers: list[Task | KhalaError] = []

    async def ask() -> None:
        try:
            answers.append(await desk.dispatcher.patching.patch(task, wanted))
        except KhalaError as error:
            answers.append(error)

    desk.spawn(ask())
    desk.settle()
    [answer] = answers
    if isinstance(answer, KhalaError):
        raise answer
    return answer


def elsewhere(desk: Desk, task: TaskId, wanted: Patch) -> None:
    """Another judicator does it, and nobody tells this one."""
    item = wanted.item(desk.task(task), f"{wanted}{desk.clock.now}")
    assert run_now(desk.memory.dispatch.patch_if_next(item)) is not None


def test_others_overtake_what_is_held(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    running, held, behind = desk.submit(), desk.submit(), desk.submit()
    assert given(desk, conn) == [run_of(running)]
    assert patch(desk, held, Patch(held=True)).hold == Hold(keys=(RELEASE,))
    desk.hear(conn, finished(run_of(running)))
    desk.beat_for(3, conn, heartbeat(running=[run_of(behind)]))
    assert given(desk, conn) == [run_of(behind)]
    desk.hear(conn, finished(run_of(behind)))
    desk.advance(1)
    assert given(desk, conn) == []
    patch(desk, held, Patch(held=False))
    assert given(desk, conn) == [run_of(held)]


def test_what_is_held_while_it_is_leased_is_held(desk: Desk) -> None:
    """The lease was under way and comes too late: its slot is free, the task is not lost."""
    conn = desk.attach(1, slots=1)
    first, task = desk.submit(), desk.submit()
    given(desk, conn)
    elsewhere(desk, task, Patch(held=True))
    desk.hear(conn, finished(run_of(first)))
    desk.advance(1)
    assert given(desk, conn) == []
    assert (desk.dispatcher.free, len(desk.dispatcher.ready)) == (1, 0)
    elsewhere(desk, task, Patch(held=False))
    desk.advance(1)
    assert given(desk, conn) == [run_of(task)]


def test_what_is_leased_is_not_held(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    task = desk.submit()
    before = desk.task(task)
    for wanted in (Patch(held=True, name="x"), Patch(priority=3, labels={"a": "b"})):
        with pytest.raises(NotWaiting, match="starting"):
            patch(desk, task, wanted)
    assert desk.task(task) == before
    assert given(desk, conn) == [run_of(task)]


def test_a_person_and_a_condition_hold_apart(desk: Desk) -> None:
    conn = desk.attach(1)
    task = desk.submit(hold=Hold(keys=(KEY,)))
    patch(desk, task, Patch(held=True))
    desk.spawn(desk.dispatcher.holding.lift([Lift(id=task, key=KEY)]))
    desk.advance(1)
    assert desk.task(task).hold == Hold(keys=(RELEASE,))
    assert given(desk, conn) == []
    patch(desk, task, Patch(held=False))
    assert given(desk, conn) == [run_of(task)]


def test_the_time_to_begin_runs_out_while_it_is_held(desk: Desk) -> None:
    task = desk.submit(queue_ttl_s=3.0)
    patch(desk, task, Patch(held=True))
    desk.advance(5)
    outcome = desk.task(task).outcome
    assert outcome is not None and outcome.reason is Reason.QUEUE_TTL


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("priority", [2, -2])
def test_another_judicators_change_moves_what_waits_here(
    desk: Desk, priority: int, told: bool
) -> None:
    """A raised one is met at the head of the index; of a lowered one somebody has to tell."""
    conn = desk.attach(1, slots=1)
    running, *tasks = [desk.submit() for _ in range(4)]
    assert given(desk, conn) == [run_of(running)]
    moved = tasks[-1] if priority > 0 else tasks[0]
    elsewhere(desk, moved, Patch(priority=priority))
    if told or priority < 0:
        desk.dispatcher.patching.told({moved: ""})
    desk.beat_for(2 * PEEK_INTERVAL_S, conn, heartbeat(running=[run_of(running)]))
    desk.hear(conn, finished(run_of(running)))
    order = given(desk, conn)
    while len(order) < 3:
        desk.hear(conn, finished(order[-1]))
        order += given(desk, conn)
    others = [task for task in tasks if task != moved]
    wanted = [moved, *others] if priority > 0 else [*others, moved]
    assert [run[0] for run in order] == wanted


def test_a_priority_changed_here_counts_at_once(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    running, first, last = desk.submit(), desk.submit(), desk.submit()
    given(desk, conn)
    changed = patch(desk, last, Patch(priority=100))
    assert changed.spec.priority == 100
    # Its gateway tells every judicator, this one as well.
    desk.dispatcher.patching.told({last: changed.patch or ""})
    desk.hear(conn, finished(run_of(running)))  # so soon that a second one is given ahead
    assert given(desk, conn) == [run_of(last), run_of(first)]


def test_news_and_memory_have_the_new_name(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    for change in (_here, _told):
        task = desk.submit(name="old")
        desk.take(conn)
        change(desk, task, Patch(name="new", labels={"a": "b"}))
        desk.announced.clear()
        desk.hear(conn, finished(run_of(task)))
        desk.take(conn)
        assert [(each.name, each.labels) for each in desk.announced] == [("new", {"a": "b"})]
        assert desk.dispatcher.recent.get(task) is not None
        # It is called otherwise when it has ended.
        change(desk, task, Patch(name="newest"))
        recent = desk.dispatcher.recent.get(task)
        assert recent is None or recent == desk.task(task)


def _here(desk: Desk, task: TaskId, wanted: Patch) -> None:
    patch(desk, task, wanted)


def _told(desk: Desk, task: TaskId, wanted: Patch) -> None:
    elsewhere(desk, task, wanted)
    desk.dispatcher.patching.told({task: ""})
    desk.settle()


def test_whoever_was_slower_reads_again(desk: Desk) -> None:
    task = desk.submit()
    gate = desk.store.hold_next()
    answers: list[Task] = []

    async def ask() -> None:
        answers.append(await desk.dispatcher.patching.patch(task, Patch(labels={"a": "1"})))

    desk.spawn(ask())
    desk.settle()
    elsewhere(desk, task, Patch(labels={"b": "2"}, held=True))
    gate.release()
    desk.settle()
    [answer] = answers
    assert answer.spec.labels == {"a": "1", "b": "2"}
    assert answer.dispatch is Dispatch.HELD


def test_a_change_in_doubt_does_not_land_behind_the_next(desk: Desk) -> None:
    task = desk.submit()
    item = Patch(held=True).item(desk.task(task), "late")
    desk.store.pass_next(1)
    desk.store.fail_next(OutcomeUnknown("timed out"))
    with pytest.raises(OutcomeUnknown):
        patch(desk, task, Patch(held=True))
    # It was not held, and is released all the same.
    assert patch(desk, task, Patch(held=False)).dispatch is Dispatch.QUEUED
    assert run_now(desk.memory.dispatch.patch_if_next(item)) is None
    assert desk.task(task).dispatch is Dispatch.QUEUED


def test_what_cannot_be_changed_is_refused(desk: Desk) -> None:
    task = desk.submit(labels={str(n): "" for n in range(LABELS)})
    refusals: list[tuple[Callable[[], object], type[KhalaError]]] = [
        (lambda: patch(desk, mint_task_id(), Patch(name="x")), NotFound),
        (lambda: patch(desk, task, Patch(labels={"one more": ""})), Rejected),
    ]
    for ask, kind in refusals:
        with pytest.raises(kind):
            ask()
    before = desk.task(task)
    assert patch(desk, task, Patch()) == before
    labels = patch(desk, task, Patch(labels={"0": None, "other": ""})).spec.labels
    assert len(labels) == LABELS


def test_only_what_has_not_changed_is_changed(desk: Desk) -> None:
    task = desk.submit()
    read = desk.task(task).updated_at
    patch(desk, task, Patch(name="x"))

    async def ask() -> None:
        with pytest.raises(Changed):
            await desk.dispatcher.patching.patch(task, Patch(held=True), read)

    desk.spawn(ask())
    desk.settle()
    assert desk.task(task).dispatch is Dispatch.QUEUED
