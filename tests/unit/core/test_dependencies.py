"""Tasks that wait for others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from khala.core.dependencies import Dependencies
from khala.model.depends import On, Predecessor, hold_of, predecessor_of
from khala.model.errors import NoSuchTask, Unavailable
from khala.model.holds import HoldKey
from khala.model.ids import JobId, TaskId
from khala.model.job import JobSpec, NewJob, member_id, mint_job_id
from khala.model.limits import DEPENDENCY_INTERVAL_S
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.ranges import up_to
from khala.model.task import Dispatch, TaskState
from khala.protocol.executor import Finished
from khala.store.memory import run_now
from tests.unit.core.desk import SPEC, Desk, finished, heartbeat, run_of

FAILED = Outcome(ending=Ending.FAILED, reason=Reason.EXIT_NONZERO)


class After:
    """A desk whose judicator looks after what waits for others."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.dependencies = Dependencies(desk.dispatcher, desk.memory.predecessors, desk)
        self.conn = desk.attach(1, slots=2)

    def submit(self, *predecessors: Predecessor) -> TaskId:
        return self.desk.submit(hold=hold_of(predecessors), depends_on=predecessors)

    def look(self) -> None:
        self.dependencies.hurry()
        self.dependencies.on_tick()
        self.desk.advance(0.5)

    def run(self, task: TaskId, outcome: Outcome | None = None) -> None:
        """It is running; it ends."""
        message = finished(run_of(task))
        if outcome is not None:
            message = Finished(session=message.session, run=message.run, outcome=outcome)
        self.desk.hear(self.conn, message)
        self.desk.take(self.conn)

    def state(self, task: TaskId) -> TaskState:
        return self.desk.task(task).state


@pytest.fixture
def after(desk: Desk) -> Iterator[After]:
    made = After(desk)
    yield made
    desk.take(made.conn)


def ok(task: TaskId) -> Predecessor:
    return Predecessor(id=task)


def end(task: TaskId) -> Predecessor:
    return Predecessor(id=task, on=On.ANY)


def test_it_begins_when_all_have_ended(after: After) -> None:
    first, second = after.submit(), after.submit()
    third = after.submit(ok(first), end(second))
    after.look()
    assert after.desk.task(third).dispatch is Dispatch.HELD
    after.run(first)
    after.look()
    assert after.desk.task(third).dispatch is Dispatch.HELD
    after.run(second, FAILED)
    after.look()
    assert after.desk.take_runs(after.conn) == [run_of(third)]


def test_a_failure_ends_what_depends_on_success_and_all_behind_it(after: After) -> None:
    first = after.submit()
    second = after.submit(ok(first))
    third, fourth = after.submit(ok(second)), after.submit(end(second))
    after.run(first, FAILED)
    for _ in range(3):
        after.look()
    outcome = after.desk.task(second).outcome
    assert outcome is not None and outcome.reason is Reason.DEPENDENCY_FAILED
    assert first in (outcome.note or "") and "failed" in (outcome.note or "")
    assert after.state(third) is TaskState.ERROR
    assert after.desk.take_runs(after.conn) == [run_of(fourth)]


def test_what_had_ended_before_is_seen_as_well(after: After) -> None:
    first = after.submit()
    after.run(first)
    second = after.submit(ok(first))
    after.look()
    assert after.desk.take_runs(after.conn) == [run_of(second)]


def test_an_end_that_is_heard_of_is_acted_on_at_once(after: After) -> None:
    first = after.submit()
    second = after.submit(ok(first))
    after.look()
    after.run(first)
    after.dependencies.on_changed(after.desk.announced[-1])
    after.dependencies.on_tick()
    after.desk.settle()
    assert after.desk.task(second).dispatch is not Dispatch.HELD


def test_another_judicator_s_task_and_a_round_that_fails(after: After, desk: Desk) -> None:
    first = after.submit()
    second = desk.submit_elsewhere(hold=hold_of((ok(first),)), depends_on=(ok(first),))
    after.run(first)
    desk.store.fail_next(Unavailable("no primary"))
    after.look()
    assert desk.task(second).dispatch is Dispatch.HELD
    desk.beat_for(DEPENDENCY_INTERVAL_S, after.conn, heartbeat())
    after.look()
    assert desk.take_runs(after.conn) == [run_of(second)]


def test_one_that_is_gone_has_ended_but_not_in_success(after: After) -> None:
    gone = TaskId("f" * 24)
    any_end, success = after.submit(end(gone)), after.submit(ok(gone))
    after.look()
    assert after.desk.take_runs(after.conn) == [run_of(any_end)]
    outcome = after.desk.task(success).outcome
    assert outcome is not None and "does not exist" in (outcome.note or "")


def test_what_is_forgotten_releases_what_waits_for_it_first(after: After) -> None:
    first = after.submit()
    second, third = after.submit(ok(first)), after.submit(end(first))
    after.run(first)
    after.desk.spawn(after.dependencies.settle_all([first]))
    after.desk.settle()
    run_now(after.desk.memory.forgetting.forget_if_done([first]))
    after.desk.advance(0.5)
    assert after.desk.take_runs(after.conn) == [run_of(second), run_of(third)]


def test_what_has_not_ended_is_not_released_by_an_attempt_to_forget_it(after: After) -> None:
    first = after.submit()
    second = after.submit(ok(first))
    after.desk.spawn(after.dependencies.settle_all([first]))
    after.desk.settle()
    assert after.desk.task(second).dispatch is Dispatch.HELD


def a_job(after: After, size: int) -> JobId:
    job = NewJob(
        id=mint_job_id(),
        spec=JobSpec(user=1, indexes=up_to(size), task=SPEC),
        submitted_at=after.desk.wall_time(),
    )
    run_now(after.desk.memory.jobs.insert_if_new(job))
    return job.id


def test_a_job_is_waited_for_until_all_of_it_has_ended(after: After) -> None:
    job = a_job(after, 3)
    whole, member = after.submit(ok(TaskId(job))), after.submit(end(member_id(job, 2)))
    after.look()
    held = [after.desk.task(each).dispatch for each in (whole, member)]
    assert held == [Dispatch.HELD, Dispatch.HELD]
    counts = {TaskState.SUCCEEDED: 3}
    run_now(after.desk.memory.jobs.close_if_version(job, 0, counts))
    after.look()
    assert after.desk.take_runs(after.conn) == [run_of(whole)]


def test_only_what_exists_can_be_named(after: After) -> None:
    job = a_job(after, 2)
    known = [after.submit(), TaskId(job), member_id(job, 2)]
    run_now(after.dependencies.check([ok(each) for each in known]))
    for unknown in (member_id(job, 3), TaskId("f" * 24)):
        with pytest.raises(NoSuchTask, match=unknown) as refused:
            run_now(after.dependencies.check([ok(known[0]), ok(unknown)]))
        assert refused.value.field == "/depends_on/1"


def test_conditions_of_other_kinds_are_left_alone() -> None:
    assert predecessor_of(HoldKey("after:it")) is None
    for predecessor in (ok(TaskId("a" * 24)), end(TaskId("b" * 24))):
        assert predecessor_of(predecessor.key) == predecessor
