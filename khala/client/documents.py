"""What a gateway answers, as far as a client reads it.

Unknown fields are ignored, so that an older client reads a newer gateway; fields that an older
gateway does not send have defaults.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.task import TERMINAL, Reason, TaskState


class Output(Struct, frozen=True, kw_only=True):
    """One stream of a stage. `text` is its beginning; `AsyncKhala.read_output` has the bytes."""

    size: int
    kept: int
    text: str
    truncated: bool


class Result(Struct, frozen=True, kw_only=True):
    """How a stage ended. `limit` and `observed` have the unit of the reason."""

    reason: Reason
    exit_code: int | None
    signal: int | None
    wall_ms: int
    cpu_user_ms: int
    cpu_system_ms: int
    memory_peak_bytes: int
    stdout: Output
    stderr: Output
    limit: int | None = None
    observed: int | None = None
    message: str | None = None
    pids_peak: int | None = None
    #: Of a compile stage: hit, miss or off.
    cache: str | None = None


class Stage(Struct, frozen=True, kw_only=True):
    command: str
    #: None until the task is done, and if this stage was not reached.
    result: Result | None


class Stages(Struct, frozen=True, kw_only=True):
    compile: Stage
    execute: Stage


class Row(Struct, frozen=True, kw_only=True):
    """A task in a list, and in an event."""

    id: str
    user: int
    state: TaskState
    reason: Reason | None
    attempt: int
    created_at: datetime
    updated_at: datetime
    executor: str | None = None

    @property
    def done(self) -> bool:
        return self.state in TERMINAL


class Pending(Struct, frozen=True, kw_only=True):
    """Why a queued task waits; a hint."""

    code: str
    detail: str


class Task(Struct, frozen=True, kw_only=True):
    """The whole of it."""

    id: str
    user: int
    state: TaskState
    reason: Reason | None
    message: str | None
    attempt: int
    crashes: int
    executor: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    stages: Stages
    image: str = ""
    pending: Pending | None = None

    @property
    def done(self) -> bool:
        return self.state in TERMINAL

    @property
    def last_stage(self) -> Stage | None:
        """The one that ran last and so decided the end; None if none did."""
        for stage in (self.stages.execute, self.stages.compile):
            if stage.result is not None:
                return stage
        return None


class Page(Struct, frozen=True, kw_only=True):
    items: list[Row]
    next_cursor: str | None


class Artifact(Struct, frozen=True, kw_only=True):
    """A file that a task left."""

    #: Relative to the work directory; bytes that are no UTF-8 are U+FFFD here, not in `href`.
    name: str
    href: str
    size: int
    executable: bool = False


class Artifacts(Struct, frozen=True, kw_only=True):
    files: list[Artifact]


class Created(Struct, frozen=True, kw_only=True):
    id: str


class Status(Struct, frozen=True, kw_only=True):
    """The cluster in a line."""

    version: str
    ready: bool
    queued: int
    running: int
    slots: int
    free: int
    notes: list[str]


class ExecutorNode(Struct, frozen=True, kw_only=True):
    name: str
    state: str
    slots: int
    free: int
    version: str
    enforcement: Enforcement | None = None


class JudicatorNode(Struct, frozen=True, kw_only=True):
    name: str
    address: str
    leader: bool
    serving: bool
    version: str


class Nodes(Struct, frozen=True, kw_only=True):
    executors: list[ExecutorNode]
    judicators: list[JudicatorNode]


class Fault(Struct, frozen=True, kw_only=True):
    """One field that was refused."""

    pointer: str
    code: str
    detail: str


class Problem(Struct, frozen=True, kw_only=True):
    """application/problem+json."""

    status: int
    code: str
    detail: str
    field: str | None = None
    errors: list[Fault] = []
