"""A task from its acceptance to its end, and how it is shown.

A task's spec (`khala.model.spec`) is immutable, but for name, labels and priority, which a person
may change (`khala.model.patch`). What changes is its *dispatch*:
`held -> queued -> leased -> done`, with the attempt number as fencing token, and at the end its
outcome (`khala.model.outcome`). Everything finer (starting, compiling, running, succeeded, ...) is
a projection of (dispatch, progress, ending) and never stored on its own, so that no two places can
disagree about a task.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from khala.model.attempts import AttemptEnd, PastAttempt
from khala.model.cases import Score, Verdict
from khala.model.holds import RELEASE, Hold
from khala.model.ids import AttemptNo, ExecutorName, TaskId
from khala.model.outcome import Cancellation, Ending, Outcome, Reason
from khala.model.spec import Member, Stage, TaskSpec


class Dispatch(StrEnum):
    """Where a task stands between its acceptance and its end; the only stored states."""

    #: Accepted and waiting for an executor.
    QUEUED = "queued"
    #: Accepted, and not to be run yet; its hold says why. Shown as queued.
    HELD = "held"
    #: One executor has the right to run one attempt.
    LEASED = "leased"
    #: Ended. Never changes again.
    DONE = "done"


class Progress(StrEnum):
    """What the leased attempt is doing; advisory, may lag, is lost with the lease."""

    STARTING = "starting"
    COMPILING = "compiling"
    RUNNING = "running"


class TaskState(StrEnum):
    """The public word for a task's state."""

    QUEUED = "queued"
    STARTING = "starting"
    COMPILING = "compiling"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ERROR = "error"


class Task(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task document: spec and dispatch. The dates are for people; no decision reads them."""

    id: TaskId
    spec: TaskSpec
    dispatch: Dispatch
    attempt: AttemptNo
    crashes: int
    submitted_at: datetime
    updated_at: datetime
    executor: ExecutorName | None = None
    progress: Progress | None = None
    outcome: Outcome | None = None
    result_attempt: AttemptNo | None = None
    #: While it is held.
    hold: Hold | None = None
    started_at: datetime | None = None
    done_at: datetime | None = None
    #: Attempts before this one, in their order: the last `PAST_ATTEMPTS` of them.
    past: tuple[PastAttempt, ...] = ()
    #: Results that were not its last, and the attempt that brought the latest of them.
    retries: int = 0
    retried: AttemptNo | None = None
    #: Of the latest change of it by a person, its claim.
    patch: str | None = None
    #: It was submitted with an idempotency key.
    keyed: bool = False

    @property
    def waits(self) -> bool:
        """No executor has it, and it has not ended."""
        return self.dispatch in (Dispatch.QUEUED, Dispatch.HELD)

    @property
    def state(self) -> TaskState:
        ending = self.outcome.ending if self.outcome else None
        return project_state(self.dispatch, self.progress, ending)


class TaskBrief(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of a list, and the body of an event: what changed, without the bytes."""

    id: TaskId
    user: int
    state: TaskState
    attempt: AttemptNo
    submitted_at: datetime
    updated_at: datetime
    #: That runs it, or ran it to its end.
    executor: ExecutorName | None = None
    stage: Stage | None = None
    reason: Reason | None = None
    name: str = ""
    verdict: Verdict | None = None
    score: Score | None = None
    done_at: datetime | None = None
    #: None for a task of its own.
    member: Member | None = None
    labels: dict[str, str] = {}
    priority: int = 0
    cancellation: Cancellation | None = None
    #: A person holds it.
    held: bool = False
    #: An earlier attempt was lost, was moved away, or brought a result that was not the last.
    again: bool = False

    @property
    def done(self) -> bool:
        return self.state in TERMINAL


TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.ERROR})


def project_state(
    dispatch: Dispatch, progress: Progress | None, ending: Ending | None
) -> TaskState:
    """The public state: see the module docstring."""
    if dispatch is Dispatch.DONE:
        return TaskState(ending or Ending.ERROR)
    if dispatch is Dispatch.LEASED:
        return TaskState(progress or Progress.STARTING)
    return TaskState.QUEUED


def brief_of(task: Task) -> TaskBrief:
    outcome = task.outcome
    return TaskBrief(
        id=task.id,
        user=task.spec.user,
        state=task.state,
        attempt=task.attempt,
        submitted_at=task.submitted_at,
        updated_at=task.updated_at,
        executor=task.executor or (outcome.executor if outcome else None),
        stage=outcome.stage if outcome else None,
        reason=outcome.reason if outcome else None,
        name=task.spec.name,
        verdict=outcome.judgement.verdict if outcome and outcome.judgement else None,
        score=outcome.score if outcome else None,
        done_at=task.done_at,
        member=task.spec.member,
        labels=task.spec.labels,
        priority=task.spec.priority,
        cancellation=outcome.cancellation if outcome else None,
        held=task.hold is not None and RELEASE in task.hold.keys,
        again=any(each.end is not AttemptEnd.RETURNED for each in task.past),
    )
