"""Jobs, and batches of tasks."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.ids import JobId, TaskId
from khala.model.job import JobState, Stop
from khala.model.outcome import Cancellation
from khala.model.task import TaskState
from khala.protocol.v2.problems import Problem
from khala.protocol.v2.tasks import Links, Plan


class Counts(Struct, frozen=True, kw_only=True):
    """A job's tasks by their states; those that an executor has are `running`."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    error: int = 0


class Job(Struct, frozen=True, kw_only=True):
    """Many tasks submitted as one."""

    id: JobId
    user: int
    name: str
    #: Of its tasks together: the worst of their ends, once all have ended.
    state: JobState
    #: Nothing of it will run any more.
    done: bool
    #: How many tasks it has, whether or not they have begun.
    size: int
    counts: Counts
    #: An array's indexes, as they were written; null for a list.
    array: str | None
    #: Tasks that may be under way at a time; null: as many as there is room for.
    limit: int | None
    #: More failures than these stop it.
    max_fails: int | None
    #: Why nothing more of it is started.
    stopped: Stop | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    #: Who cancelled it and why; null if it was not cancelled, or nothing was said.
    cancellation: Cancellation | None = None
    #: The job whose tasks these are, once more.
    retry_of: JobId | None = None
    #: A person holds it: none of its tasks begins before it is released.
    held: bool = False


class JobPage(Struct, frozen=True, kw_only=True):
    """A part of the list of jobs."""

    items: list[Job]
    #: Hand it back as `cursor` for the next page; null on the last one.
    next_cursor: str | None


class CreatedJob(Struct, frozen=True, kw_only=True):
    """A job that was accepted."""

    id: JobId
    size: int
    links: Links


class JobPlan(Struct, frozen=True, kw_only=True):
    """What a job of this document would be."""

    name: str
    size: int
    #: Of an array: its indexes, and what each of its tasks would get.
    array: str | None = None
    task: Plan | None = None
    #: Of a list: what each of them would get.
    tasks: list[Plan] = []
    limit: int | None
    max_fails: int | None
    held: bool


class BatchItem(Struct, frozen=True, kw_only=True):
    """What became of one task of a batch: either it has an id, or there is a problem."""

    index: int
    id: TaskId | None = None
    problem: Problem | None = None


class Batch(Struct, frozen=True, kw_only=True):
    """In the order of the request."""

    items: list[BatchItem]
    accepted: int


class PlannedItem(Struct, frozen=True, kw_only=True):
    """What one task of a batch would get, or the problem that it has."""

    index: int
    plan: Plan | None = None
    problem: Problem | None = None


class BatchPlan(Struct, frozen=True, kw_only=True):
    """In the order of the request."""

    items: list[PlannedItem]
    #: Those that would be.
    accepted: int


def counts_of(states: dict[TaskState, int]) -> Counts:
    under_way = (TaskState.STARTING, TaskState.COMPILING, TaskState.RUNNING)
    return Counts(
        queued=states.get(TaskState.QUEUED, 0),
        running=sum(states.get(state, 0) for state in under_way),
        succeeded=states.get(TaskState.SUCCEEDED, 0),
        failed=states.get(TaskState.FAILED, 0),
        cancelled=states.get(TaskState.CANCELLED, 0),
        error=states.get(TaskState.ERROR, 0),
    )
