"""Jobs between gateways and judicators; the paths are listed in `khala.protocol.rpc`."""

from __future__ import annotations

from msgspec import Struct

from khala.model.ids import JobId
from khala.model.job import Job
from khala.model.ranges import Indexes
from khala.model.task import TaskBrief, TaskState
from khala.protocol.rpc import ErrorBody, SubmitTask, Submitted


class SubmitBatch(Struct, frozen=True, kw_only=True):
    """Tasks that have nothing to do with each other, in one request."""

    tasks: list[SubmitTask]


class BatchAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one task: one of the two."""

    submitted: Submitted | None = None
    refused: ErrorBody | None = None


class SubmittedBatch(Struct, frozen=True, kw_only=True):
    """In the order of the tasks."""

    answers: list[BatchAnswer]


class SubmitJob(Struct, frozen=True, kw_only=True):
    """Either `task`, with what it is repeated for, or `tasks`."""

    user: int
    name: str = ""
    task: SubmitTask | None = None
    indexes: Indexes | None = None
    #: One for each index.
    entries: list[str] | None = None
    #: Of a list.
    tasks: list[SubmitTask] = []
    limit: int | None = None
    max_fails: int | None = None
    key: str | None = None
    #: It is accepted as held by a person.
    held: bool = False


class HoldJob(Struct, frozen=True, kw_only=True):
    """What a person wants of a job."""

    held: bool


class JobView(Struct, frozen=True, kw_only=True):
    """A job, and its members by their states."""

    job: Job
    counts: dict[TaskState, int]


class ListJobs(Struct, frozen=True, kw_only=True):
    """Newest first."""

    user: int | None = None
    #: The last job of the page before.
    before: JobId | None = None
    limit: int


class JobRows(Struct, frozen=True, kw_only=True):
    jobs: list[Job]
    #: There is another page.
    more: bool


class JobPage(Struct, frozen=True, kw_only=True):
    jobs: list[JobView]
    more: bool


class ListMembers(Struct, frozen=True, kw_only=True):
    """In the order of their positions."""

    #: Any of these; empty: all.
    states: tuple[TaskState, ...] = ()
    #: The position behind which the page begins.
    after: int = 0
    limit: int


class MemberRows(Struct, frozen=True, kw_only=True):
    tasks: list[TaskBrief]
    #: Where the next page begins; None on the last one.
    next_after: int | None


class RetryJob(Struct, frozen=True, kw_only=True):
    """A new job of those members of an ended one that ended so."""

    only: tuple[TaskState, ...]
    key: str | None = None


class Retried(Struct, frozen=True, kw_only=True):
    id: JobId
    replay: bool
    #: Members of the new job.
    size: int
