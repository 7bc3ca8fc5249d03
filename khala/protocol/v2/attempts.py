"""The attempts of a task, what it says of them, and what it waits for before the first."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.ids import TaskId
from khala.model.outcome import Reason


class Predecessor(Struct, frozen=True, kw_only=True):
    """A task that is waited for, or a job: all of its tasks."""

    id: TaskId
    #: `ok`: it has to succeed; `any`: to end.
    on: str


class Usage(Struct, frozen=True, kw_only=True):
    """What was used up."""

    wall_ms: int
    cpu_ms: int
    #: The peak of either stage.
    memory_peak_bytes: int


class Retry(Struct, frozen=True, kw_only=True):
    """Which results of a task are not its last."""

    #: Results there may be, the last one included.
    max_attempts: int
    #: Reasons of results that are followed by another try.
    on: list[str]
    backoff_s: float
    backoff_max_s: float


class Attempt(Struct, frozen=True, kw_only=True):
    """One try of a task."""

    attempt: int
    #: `running`, or how it ended: `recorded` (its result is the task's), `retried` (its result was
    #: followed by another try), `executor_lost` (with its executor or its sandbox), `returned` (its
    #: executor gave it back), `drained` (its executor was to be empty), `cancelled`.
    end: str
    executor: str | None
    started_at: datetime | None
    #: Null while it runs.
    ended_at: datetime | None
    #: Of its result; null without one.
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    #: Of both stages together; null without a result.
    usage: Usage | None = None


class Attempts(Struct, frozen=True, kw_only=True):
    """The attempts of a task, in their order."""

    attempts: list[Attempt]
    #: Attempts that have been forgotten: the last 32 before the newest are remembered.
    forgotten: int = 0
