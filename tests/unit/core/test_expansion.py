"""Jobs step by step: what one judicator does, and what it must not do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from khala.core.expansion import Expansion
from khala.model.holds import RELEASE, Hold
from khala.model.ids import JobId, TaskId
from khala.model.job import Job, JobSpec, NewJob, Stop, hold_key, member_id, unmade
from khala.model.limits import JOB_PORTION, JOB_WINDOW
from khala.model.outcome import Cancellation, Ending, Outcome, Reason
from khala.model.patch import Patch
from khala.model.ranges import up_to
from khala.model.statements import Lift, NewTask
from khala.model.task import Dispatch, TaskState
from khala.store.memory import run_now
from tests.unit.core.desk import SPEC, Desk

JOB = JobId("0000000000000000ff000000")
FAILED = Outcome(ending=Ending.FAILED, reason=Reason.EXIT_NONZERO)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.crash()


def submitted(
    desk: Desk, size: int, *, limit: int | None = None, max_fails: int | None = None
) -> Expansion:
    spec = JobSpec(user=1, indexes=up_to(size), task=SPEC, limit=limit, max_fails=max_fails)
    new = NewJob(id=JOB, spec=spec, submitted_at=desk.wall_time())
    run_now(desk.memory.jobs.insert_if_new(new))
    return Expansion(desk.dispatcher, desk.memory.expansion, desk)


def job_of(desk: Desk) -> Job:
    return run_now(desk.memory.jobs.get(JOB))


def advance(desk: Desk, expansion: Expansion, job: Job | None = None) -> None:
    desk.spawn(expansion.advance(job or job_of(desk)))
    desk.settle()


def end(desk: Desk, position: int, outcome: Outcome | None = None) -> None:
    """As if an executor had run it."""
    row = desk.memory.tasks._state.tasks[member_id(JOB, position)]
    done = outcome or Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK)
    row.end(done, row.task.attempt, desk.wall_time())


def made(desk: Desk) -> list[TaskId]:
    rows = run_now(desk.memory.jobs.list_made(JOB, 1, 1_000_000, (), 1_000_000))
    return [row.id for row in rows]


def test_no_more_members_are_open_than_may_be(desk: Desk) -> None:
    expansion = submitted(desk, 10, limit=3)
    for _ in range(3):
        advance(desk, expansion)
    assert made(desk) == [member_id(JOB, n) for n in (1, 2, 3)]
    end(desk, 2)
    advance(desk, expansion)
    assert len(made(desk)) == 4


def test_a_judicator_that_read_the_job_long_ago_makes_none_too_many(desk: Desk) -> None:
    expansion = submitted(desk, 10, limit=3)
    old = job_of(desk)
    advance(desk, expansion)
    for position in (1, 2):
        end(desk, position)
    advance(desk, expansion)
    advance(desk, expansion, old)
    assert len(made(desk)) == 5


def test_without_a_limit_members_are_made_by_portions_up_to_a_window(desk: Desk) -> None:
    expansion = submitted(desk, 100_000)
    advance(desk, expansion)
    assert len(made(desk)) == JOB_PORTION
    for _ in range(5):
        advance(desk, expansion)
    assert len(made(desk)) == JOB_WINDOW


def test_a_job_closes_with_its_counts(desk: Desk) -> None:
    expansion = submitted(desk, 3)
    advance(desk, expansion)
    for position, outcome in ((1, None), (2, FAILED), (3, None)):
        assert job_of(desk).open
        end(desk, position, outcome)
        advance(desk, expansion)
    job = job_of(desk)
    assert not job.open
    assert job.counts is not None
    assert (job.counts[TaskState.SUCCEEDED], job.counts[TaskState.FAILED]) == (2, 1)


def test_more_failures_than_allowed_stop_it(desk: Desk) -> None:
    expansion = submitted(desk, 10, limit=4, max_fails=1)
    advance(desk, expansion)
    end(desk, 1, FAILED)
    advance(desk, expansion)
    assert job_of(desk).stop is None
    end(desk, 2, FAILED)
    advance(desk, expansion)
    assert job_of(desk).stop is Stop.MAX_FAILS
    for _ in range(2):
        advance(desk, expansion)
    job = job_of(desk)
    assert not job.open and job.counts is not None
    assert (job.counts[TaskState.FAILED], job.counts[TaskState.CANCELLED]) == (2, 8)
    said = Cancellation(reason="more than 1 of its job's tasks failed (max_fails)")
    assert {said_of(desk, position) for position in range(3, 11)} == {said}


def said_of(desk: Desk, position: int) -> Cancellation | None:
    """Of a member that was cancelled, made or not."""
    job = job_of(desk)
    if member_id(JOB, position) in made(desk):
        outcome = desk.task(member_id(JOB, position)).outcome
    else:
        outcome = unmade(job, SPEC, position).outcome
    assert outcome is not None and outcome.ending is Ending.CANCELLED
    return outcome.cancellation


def test_members_say_what_was_said_of_their_job(desk: Desk) -> None:
    """Those that wait, those that nobody will make any more, and those between."""
    expansion = submitted(desk, JOB_PORTION + 10, limit=4)
    advance(desk, expansion)
    said = Cancellation(by="ann", reason="wrong input")
    run_now(desk.memory.jobs.stop_if_open(JOB, Stop.CANCELLED, said))
    for _ in range(2):
        advance(desk, expansion)
    assert not job_of(desk).open
    assert {said_of(desk, position) for position in (1, 4, 5, JOB_PORTION + 10)} == {said}


def test_members_that_land_after_the_stop(desk: Desk) -> None:
    """A judicator that stood still between its count and its insert: the ids are taken."""
    expansion = submitted(desk, 5_000)
    specs = run_now(desk.memory.expansion.specs_of(job_of(desk), 1, JOB_PORTION))
    late = [
        NewTask(id=member_id(JOB, n), spec=spec, submitted_at=desk.wall_time())
        for n, spec in enumerate(specs, 1)
    ]
    run_now(desk.memory.jobs.stop_if_open(JOB, Stop.CANCELLED))
    advance(desk, expansion)
    run_now(desk.memory.expansion.insert_if_new(late))
    assert run_now(desk.memory.jobs.count_open(JOB)) == 0
    job = job_of(desk)
    assert not job.open and job.counts is not None
    assert job.counts[TaskState.CANCELLED] == 5_000


def test_a_stop_that_comes_before_the_end_is_noticed(desk: Desk) -> None:
    expansion = submitted(desk, 1)
    advance(desk, expansion)
    end(desk, 1)
    old = job_of(desk)
    run_now(desk.memory.jobs.stop_if_open(JOB, Stop.CANCELLED))
    advance(desk, expansion, old)
    assert job_of(desk).open
    advance(desk, expansion)
    assert not job_of(desk).open


def test_the_tick_looks_at_open_jobs_and_lets_full_ones_rest(desk: Desk) -> None:
    expansion = submitted(desk, 10, limit=2)
    expansion.on_tick()
    desk.settle()
    assert len(made(desk)) == 2
    end(desk, 1)
    desk.clock.run(desk.clock.now + 0.3)
    expansion.on_tick()
    desk.settle()
    expansion.hurry(JOB)
    desk.clock.run(desk.clock.now + 0.3)
    expansion.on_tick()
    desk.settle()
    assert len(made(desk)) == 3


def hold(desk: Desk, *, held: bool) -> None:
    job = job_of(desk)
    assert run_now(desk.memory.jobs.hold_if_version(JOB, job.version, held=held))


def waiting(desk: Desk) -> list[Dispatch]:
    return [desk.task(task).dispatch for task in made(desk)]


def test_of_a_held_job_nothing_begins_and_nothing_is_made(desk: Desk) -> None:
    expansion = submitted(desk, 4, limit=2)
    before = job_of(desk)
    advance(desk, expansion)
    hold(desk, held=True)
    # Somebody had read it before.
    end(desk, 1)
    advance(desk, expansion, before)
    assert waiting(desk) == [Dispatch.DONE, Dispatch.QUEUED]
    for _ in range(3):
        advance(desk, expansion)
    assert waiting(desk) == [Dispatch.DONE, Dispatch.HELD]
    assert member_id(JOB, 2) not in desk.dispatcher.ready
    assert unmade(job_of(desk), SPEC, 3).dispatch is Dispatch.HELD
    hold(desk, held=False)
    for _ in range(3):
        advance(desk, expansion)
    assert waiting(desk) == [Dispatch.DONE, Dispatch.QUEUED, Dispatch.QUEUED]


def test_who_is_held_by_itself_is_not_released_with_its_job(desk: Desk) -> None:
    expansion = submitted(desk, 2)
    advance(desk, expansion)
    first, second = made(desk)
    desk.spawn(_patched(desk, first))
    desk.settle()
    hold(desk, held=True)
    advance(desk, expansion)
    hold(desk, held=False)
    advance(desk, expansion)
    assert desk.task(first).hold == Hold(keys=(RELEASE,))
    assert desk.task(second).dispatch is Dispatch.QUEUED


async def _patched(desk: Desk, task: TaskId) -> None:
    await desk.dispatcher.patching.patch(task, Patch(held=True))


def test_a_hold_that_comes_late_is_released(desk: Desk) -> None:
    expansion = submitted(desk, 1)
    advance(desk, expansion)
    hold(desk, held=True)
    hold(desk, held=False)
    advance(desk, expansion)
    [task] = made(desk)
    run_now(desk.memory.dispatch.hold_if_waiting([Lift(id=task, key=hold_key(JOB))]))
    advance(desk, expansion)
    assert desk.task(task).dispatch is Dispatch.QUEUED


def test_a_held_job_ends_when_all_of_it_has(desk: Desk) -> None:
    expansion = submitted(desk, 1)
    advance(desk, expansion)
    hold(desk, held=True)
    advance(desk, expansion)
    assert job_of(desk).open
    end(desk, 1)
    advance(desk, expansion)
    assert not job_of(desk).open
