"""Many tasks submitted as one: an array, or a list.

A job is accepted as one document, however many tasks it stands for. Its members become tasks
while there is room for them, some time ahead of their turn, and nothing has to remember how far
that has come: the id of a member is the job's with its position in the last six digits, so whoever
makes a member makes the same one. A member that is not made yet is what it would be: queued, or
cancelled with its job.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from khala.model.blob import BlobName
from khala.model.holds import Hold, HoldKey
from khala.model.ids import AttemptNo, JobId, TaskId
from khala.model.outcome import Cancellation, Ending
from khala.model.ranges import Indexes
from khala.model.spec import TaskSpec
from khala.model.statements import cancelled
from khala.model.task import Dispatch, Task, TaskState

_POSITION_DIGITS = 6
_NO_POSITION = "0" * _POSITION_DIGITS
#: Not below the keys of dependencies (`khala.model.depends`).
_HELD = "job:"


class Stop(StrEnum):
    """Why a job starts no more of its members."""

    CANCELLED = "cancelled"
    #: More of its members failed than may.
    MAX_FAILS = "max_fails"


class JobSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user submitted, minus the bytes that are stored apart."""

    user: int
    name: str = ""
    indexes: Indexes
    #: Of an array: what each member is asked to do.
    task: TaskSpec | None = None
    #: Of a list: the blob of its members' specs. Of an array: that of its members' entries.
    blob: BlobName | None = None
    #: Members that may be open at a time.
    limit: int | None = None
    #: The job stops when more than these have failed.
    max_fails: int | None = None
    #: The job is removed with its members so long after its end: the longest that one of them says,
    #: if all of them do.
    retention_s: int | None = None
    #: Whose members these are, again.
    retry_of: JobId | None = None


class NewJob(Struct, frozen=True, kw_only=True):
    """A job to insert. Blobs that it names are stored before."""

    id: JobId
    spec: JobSpec
    submitted_at: datetime
    #: Idempotency key, unique per user among jobs.
    key: str | None = None
    fingerprint: bytes = b""
    #: That its members name, beside those that its spec does.
    blobs: tuple[BlobName, ...] = ()
    #: A person holds it from the beginning.
    held: bool = False


class Job(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job's document."""

    id: JobId
    spec: JobSpec
    submitted_at: datetime
    updated_at: datetime
    #: Grows with every change of what its members may do; a conclusion drawn before one is void.
    version: int = 0
    #: Members up to this position are made. It may lag, and is never too high.
    expanded: int = 0
    #: Something is left to be done for it.
    open: bool = True
    stop: Stop | None = None
    stopped_at: datetime | None = None
    #: Of one that was cancelled, if anything was said of it.
    cancellation: Cancellation | None = None
    #: How its members ended; None while it is open.
    counts: dict[TaskState, int] | None = None
    done_at: datetime | None = None
    #: Of members that are made from now on: the number before their first attempt. Members that a
    #: lost majority had made have lower ones (`khala.store.epochs`).
    attempts_before: AttemptNo = AttemptNo(0)
    #: A person holds it; None: nobody ever did, and no member is held for it.
    held: bool | None = None

    @property
    def size(self) -> int:
        return self.spec.indexes.size

    @property
    def member_cancellation(self) -> Cancellation | None:
        """What members are ended with that are open when it is stopped."""
        if self.stop is Stop.MAX_FAILS:
            bound = self.spec.max_fails
            return Cancellation(reason=f"more than {bound} of its job's tasks failed (max_fails)")
        return self.cancellation


def mint_job_id() -> JobId:
    """Seconds and five random bytes: members of two jobs of one second never share an id."""
    return JobId(int(time.time()).to_bytes(4, "big").hex() + secrets.token_hex(5) + _NO_POSITION)


def is_job_id(text: str) -> bool:
    return text.endswith(_NO_POSITION)


def members_prefix(job: JobId) -> str:
    """How the ids of all its members begin, and no others."""
    return job[:-_POSITION_DIGITS]


def member_id(job: JobId, position: int) -> TaskId:
    return TaskId(f"{members_prefix(job)}{position:0{_POSITION_DIGITS}x}")


def ids_of(job: JobId) -> tuple[TaskId, TaskId]:
    """The first and the last id that are the job's or a member's."""
    prefix = job[:-_POSITION_DIGITS]
    return TaskId(prefix + _NO_POSITION), TaskId(prefix + "f" * _POSITION_DIGITS)


def place_of(task: TaskId) -> tuple[JobId, int]:
    """The job and the position that a member's id names. Any id names some."""
    return JobId(task[:-_POSITION_DIGITS] + _NO_POSITION), int(task[-_POSITION_DIGITS:], 16)


def hold_key(job: JobId) -> HoldKey:
    """The condition of members that wait while their job is held."""
    return HoldKey(f"{_HELD}{job}")


def job_held_by(key: HoldKey) -> JobId | None:
    """None for a condition of another kind."""
    return JobId(key.removeprefix(_HELD)) if key.startswith(_HELD) else None


def unmade(job: Job, spec: TaskSpec, position: int) -> Task:
    """The member at `position` as it is until it is made."""
    stopped = job.stop is not None
    hold = Hold(keys=(hold_key(job.id),)) if job.held and not stopped else None
    waiting = Dispatch.QUEUED if hold is None else Dispatch.HELD
    return Task(
        id=member_id(job.id, position),
        spec=spec,
        dispatch=Dispatch.DONE if stopped else waiting,
        hold=hold,
        attempt=AttemptNo(0),
        crashes=0,
        submitted_at=job.submitted_at,
        updated_at=job.stopped_at or job.submitted_at,
        outcome=cancelled(job.member_cancellation) if stopped else None,
        done_at=job.stopped_at,
    )


def total(job: Job, made: Mapping[TaskState, int]) -> dict[TaskState, int]:
    """Members by their states: of those that are made, and of the rest."""
    rest = job.size - sum(made.values())
    state = TaskState.QUEUED if job.stop is None else TaskState.CANCELLED
    counts = {each: made.get(each, 0) for each in TaskState}
    counts[state] += rest
    return counts


class JobState(StrEnum):
    """The public word for a job's state; derived, like a task's."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def state_of(counts: Mapping[TaskState, int]) -> JobState:
    """The worst that happened, once everything has."""
    ended = {ending: counts.get(TaskState(ending), 0) for ending in Ending}
    left = sum(counts.values()) - sum(ended.values())
    if left:
        begun = any(ended.values()) or left > counts.get(TaskState.QUEUED, 0)
        return JobState.RUNNING if begun else JobState.QUEUED
    if ended[Ending.FAILED] or ended[Ending.ERROR]:
        return JobState.FAILED
    return JobState.CANCELLED if ended[Ending.CANCELLED] else JobState.SUCCEEDED
