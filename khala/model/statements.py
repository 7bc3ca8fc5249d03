"""Arguments and answers of the store's statements.

Every change of a task is one compare-and-set on one document. The structs here say what a
statement is given and what it may answer; they live in the model because the sans-IO core emits
and consumes them without knowing any database.

Rules that all of them keep:

- A statement can be repeated with the same arguments until it answers. A repetition never has a
  second effect, and where the first try had taken effect it answers the same as that would have.
- `attempt` always names the attempt the caller believes current; if the document has moved on,
  the answer is False, STALE or nothing, never an exception.
- `Unavailable` = it has not happened. `OutcomeUnknown` = it may have happened, or may still
  happen after a later read; repeat the statement or leave it to the audit.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from khala.model.attempts import AttemptEnd, PastAttempt
from khala.model.enforcement import Enforcement
from khala.model.executor import ExecutorRecord, ImageInfo, Owner
from khala.model.holds import Hold, HoldKey
from khala.model.ids import AttemptNo, BootId, ExecutorName, JudicatorName, SessionNo, TaskId
from khala.model.order import Place, rank_of
from khala.model.outcome import Cancellation, Chunked, Ending, Outcome, Reason
from khala.model.spec import Network, TaskSpec
from khala.model.task import Progress, Task, TaskBrief, TaskState
from khala.model.wants import Amounts, Labels


class Lease(Struct, frozen=True, kw_only=True):
    """The right of one session to run the current attempt of a task."""

    executor: ExecutorName
    session: SessionNo
    #: A nonce of the claim: after an unknown outcome it tells whose write it was.
    claim: str
    #: The judicator that wrote it.
    by: JudicatorName


class NewTask(Struct, frozen=True, kw_only=True):
    """A task to insert (S1). Parts that are not inline must be stored before."""

    id: TaskId
    spec: TaskSpec
    submitted_at: datetime
    #: Idempotency key, unique per user.
    key: str | None = None
    #: 32 bytes that stand for the whole request; the same key with other bytes is a `Conflict`.
    fingerprint: bytes = b""
    #: The fused form: inserted as attempt 1, already leased.
    lease: Lease | None = None
    #: It waits for more than an executor; never together with a lease.
    hold: Hold | None = None
    #: It ended before it began: a member of a job that is cancelled before it was made.
    ended: Outcome | None = None
    #: The number before its first attempt.
    attempts_before: AttemptNo = AttemptNo(0)

    @property
    def expires_at(self) -> datetime | None:
        """When it ends if nothing has begun. What is inserted leased has."""
        limit_s = self.spec.queue_ttl_s
        if limit_s is None or self.lease is not None or self.ended is not None:
            return None
        return self.submitted_at + timedelta(seconds=limit_s)


class AcceptResult(Struct, frozen=True, kw_only=True):
    """`id` is the earlier task's when `replay` is True: nothing was inserted then, and a lease
    that came with the new task was not taken."""

    id: TaskId
    replay: bool


class Lift(Struct, frozen=True, kw_only=True):
    """One condition of a hold that has come true (S12), or that holds from now on (S25)."""

    id: TaskId
    #: None: its date has come.
    key: HoldKey | None = None


class ExpiredTask(Struct, frozen=True, kw_only=True):
    """A task that waits, and has waited longer than it wants to."""

    id: TaskId
    queue_ttl_s: float


class HeldTask(Struct, frozen=True, kw_only=True):
    """A task that is held, as a sweep reads it."""

    id: TaskId
    hold: Hold


class PatchItem(Struct, frozen=True, kw_only=True):
    """A change of a task by a person (S23): what it is from then on, whatever it was."""

    id: TaskId
    #: The claim of the change before it; None: there was none. Nothing else writes these fields, so
    #: what stays as it is was read with it.
    after: str | None
    #: A nonce: after an unknown outcome it tells whose write it was.
    claim: str
    name: str
    labels: Labels
    priority: int
    rank: datetime
    retention_s: int | None = None
    #: Whether a person holds it; None: as before.
    held: bool | None = None
    #: Only while no executor has it, and it has not ended.
    waits: bool = False
    #: Only if it has not changed at all since then.
    updated_at: datetime | None = None


class LeaseItem(Struct, frozen=True, kw_only=True):
    """Lease a queued task (S2). `attempt` is the number before; the lease makes it one more."""

    id: TaskId
    attempt: AttemptNo
    lease: Lease
    #: The `started_at` to write, in whole milliseconds; None: the store's clock.
    at: datetime | None = None


class Candidate(Struct, frozen=True, kw_only=True):
    """A queued task, with what an `Assign` needs."""

    id: TaskId
    attempt: AttemptNo
    crashes: int
    spec: TaskSpec
    submitted_at: datetime
    keyed: bool = False

    @property
    def place(self) -> Place:
        return rank_of(self.submitted_at, self.spec.priority), self.submitted_at, self.id


def candidate_of(task: Task) -> Candidate:
    return Candidate(
        id=task.id,
        attempt=task.attempt,
        crashes=task.crashes,
        spec=task.spec,
        submitted_at=task.submitted_at,
        keyed=task.keyed,
    )


class ProgressItem(Struct, frozen=True, kw_only=True):
    """What a leased attempt is doing (S3)."""

    id: TaskId
    attempt: AttemptNo
    progress: Progress


class FinishItem(Struct, frozen=True, kw_only=True):
    """The result of one attempt (S4)."""

    id: TaskId
    attempt: AttemptNo
    outcome: Outcome
    #: The `done_at` to write, in whole milliseconds; None: the store's clock.
    at: datetime | None = None


class FinishResult(StrEnum):
    #: The task's result is this attempt's, recorded now or by an earlier try.
    RECORDED = "recorded"
    #: This attempt's result was not to be the last; the task is tried again.
    RETRIED = "retried"
    #: The task has moved on (cancelled, another attempt) or does not exist: drop the result.
    STALE = "stale"


class RetryItem(Struct, frozen=True, kw_only=True):
    """A result of one attempt that is not the task's last (S21)."""

    id: TaskId
    attempt: AttemptNo
    outcome: Outcome
    #: When it came, in whole milliseconds.
    at: datetime
    #: The task is held until then; None: it is queued at once.
    until: datetime | None = None

    @property
    def past(self) -> PastAttempt:
        """What is remembered of it; the store adds when it began."""
        return PastAttempt(
            attempt=self.attempt,
            end=AttemptEnd.RETRIED,
            executor=self.outcome.executor,
            ended_at=self.at,
            outcome=replace(
                self.outcome, artifacts=None, cases=(), case_outputs=None, enforcement=None
            ),
        )


class CancelResult(Struct, frozen=True, kw_only=True):
    """The task is cancelled for good (S5)."""

    #: Who was running `attempt` and must be told to kill it; None if nobody was.
    before: Lease | None
    attempt: AttemptNo | None
    brief: TaskBrief


class RequeueItem(Struct, frozen=True, kw_only=True):
    """Take a lease back (S8), if that session still has it."""

    id: TaskId
    attempt: AttemptNo
    executor: ExecutorName
    session: SessionNo
    #: The executor died or vanished with it; the task's `max_crashes` of these end it.
    crash: bool
    #: It ran, and is put back because its executor is to be empty.
    drained: bool = False

    def past(self, at: datetime) -> PastAttempt:
        """What is remembered of it; the store adds when it began."""
        kept = AttemptEnd.DRAINED if self.drained else AttemptEnd.RETURNED
        return PastAttempt(
            attempt=self.attempt,
            end=AttemptEnd.EXECUTOR_LOST if self.crash else kept,
            executor=self.executor,
            ended_at=at,
        )


class RequeueResult(StrEnum):
    """What became of a lease that was taken back (S8)."""

    REQUEUED = "requeued"
    #: That was one crash too many: the task is done with `executor_lost_repeatedly`.
    ENDED = "ended"
    #: It is no longer leased by that session under that attempt; nothing was changed.
    STALE = "stale"


class HeldLease(Struct, frozen=True, kw_only=True):
    """A lease as the store shows it to an audit."""

    id: TaskId
    attempt: AttemptNo
    executor: ExecutorName
    session: SessionNo


class OpenSession(Struct, frozen=True, kw_only=True):
    """An executor's Hello, as far as the store is concerned (S6)."""

    name: ExecutorName
    boot: BootId
    owner: Owner
    slots: int
    version: str
    enforcement: str
    images: tuple[ImageInfo, ...] = ()
    networks: tuple[Network, ...] = ()
    enforces: Enforcement | None = None
    speaks: int = 0
    capacity: Amounts = {}
    labels: Labels = {}


class OpenedSession(Struct, frozen=True, kw_only=True):
    session: SessionNo
    #: The row before; None for a name that was never seen. Another `boot` in it means that
    #: nothing that was running under that name runs any more.
    previous: ExecutorRecord | None

    @property
    def previous_boot(self) -> BootId | None:
        return self.previous.boot if self.previous else None


class AuditView(Struct, frozen=True, kw_only=True):
    """What the store knows of some executors (R4)."""

    records: list[ExecutorRecord]
    #: Every lease of those executors, whatever its session.
    leases: list[HeldLease] = []


class Counts(Struct, frozen=True, kw_only=True):
    #: Those that an executor could have now.
    queued: int
    held: int
    leased: int


class ChunkItem(Struct, frozen=True, kw_only=True):
    """One piece of an attempt's output. A chunk number that is already stored is left alone, so
    a repetition must carry the same bytes."""

    id: TaskId
    attempt: AttemptNo
    stream: Chunked
    n: int
    data: bytes


def cancelled(cancellation: Cancellation | None = None) -> Outcome:
    """How a task ends that somebody cancels."""
    return Outcome(ending=Ending.CANCELLED, reason=Reason.CANCELLED, cancellation=cancellation)


def waited_too_long(limit_s: float) -> Outcome:
    """How a task ends that no attempt of has begun in time."""
    return Outcome(
        ending=Ending.ERROR,
        reason=Reason.QUEUE_TTL,
        note=f"no attempt began within {limit_s:g} s of its submission (its queue_ttl_s)",
    )


def dependency_failed(task: TaskId, state: TaskState | None) -> Outcome:
    """How a task ends that waited for the success of another; None: that one is gone."""
    ended = "does not exist any more" if state is None else f"ended as {state}"
    return Outcome(
        ending=Ending.ERROR,
        reason=Reason.DEPENDENCY_FAILED,
        note=f"{task}, whose success it depends on, {ended}",
    )


def lost_repeatedly(crashes: int) -> Outcome:
    """How a task ends whose executors die again and again."""
    return Outcome(
        ending=Ending.ERROR,
        reason=Reason.EXECUTOR_LOST_REPEATEDLY,
        note=f"{crashes} attempts ended with the loss of their executor",
    )
