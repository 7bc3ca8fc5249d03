"""What a task is, how it ends, and how both are shown.

A task is immutable after acceptance: two stages (compile, execute), their limits, and payload
parts (sources, input, data). What changes is its *dispatch*: `queued -> leased -> done`, with the
attempt number as fencing token. Everything finer (starting, compiling, running, succeeded, ...)
is a projection of (dispatch, progress, ending) and never stored on its own, so that no two places
can disagree about a task.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.ids import AttemptNo, ExecutorName, TaskId
from khala.model.limits import MIB


class Dispatch(StrEnum):
    """Where a task stands between its acceptance and its end; the only stored states."""

    #: Accepted and waiting for an executor.
    QUEUED = "queued"
    #: One executor has the right to run one attempt.
    LEASED = "leased"
    #: Ended. Never changes again.
    DONE = "done"


class Progress(StrEnum):
    """What the leased attempt is doing; advisory, may lag, is lost with the lease."""

    STARTING = "starting"
    COMPILING = "compiling"
    RUNNING = "running"


class Ending(StrEnum):
    """How a task ended."""

    #: Both stages exited with 0.
    SUCCEEDED = "succeeded"
    #: A stage ended otherwise, or was ended by a limit.
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: Khala could not run it to an end: bad input, executors lost too often, an internal fault.
    ERROR = "error"


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


class Stage(StrEnum):
    COMPILE = "compile"
    EXECUTE = "execute"


class Reason(StrEnum):
    """Why a stage or a task ended the way it did: a closed list that clients may switch on."""

    OK = "ok"
    EXIT_NONZERO = "exit_nonzero"
    SIGNAL = "signal"
    WALL_TIME = "wall_time"
    CPU_TIME = "cpu_time"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    PROCESS_LIMIT = "process_limit"
    FILE_SIZE = "file_size"
    DISK = "disk"
    SYSCALL = "syscall"
    CANCELLED = "cancelled"
    BAD_INPUT = "bad_input"
    EXECUTOR_LOST_REPEATEDLY = "executor_lost_repeatedly"
    SETUP_FAILED = "setup_failed"
    INTERNAL = "internal"


class Part(StrEnum):
    """The named pieces of a task's payload."""

    COMPILE_SOURCE = "compile_source"
    COMPILE_COMMAND = "compile_command"
    EXECUTE_INPUT = "execute_input"
    EXECUTE_DATA = "execute_data"
    EXECUTE_COMMAND = "execute_command"
    EXECUTE_STANDARD = "execute_standard"


class Stream(StrEnum):
    """The four outputs of a task, named as KV2 names their files."""

    COMPILE_OUTPUT = "compile_output"
    COMPILE_ERROR = "compile_error"
    EXECUTE_OUTPUT = "execute_output"
    EXECUTE_ERROR = "execute_error"


class Bundle(StrEnum):
    """Several files as one stream of bytes, stored as outputs are."""

    ARTIFACTS = "artifacts"


#: What an attempt leaves in chunks.
Chunked: TypeAlias = Stream | Bundle


class OnOutputLimit(StrEnum):
    """What becomes of a stage that writes more than its outputs may hold."""

    #: It is killed and has failed.
    STOP = "stop"
    #: It goes on; the first and the last of what it wrote is kept.
    TRUNCATE = "truncate"


class StageLimits(Struct, frozen=True, kw_only=True):
    """What one stage may use; every limit is positive and enforced by the executor."""

    wall_ms: int
    cpu_ms: int
    memory_bytes: int
    pids: int
    #: Per stream: stdout and stderr each.
    output_bytes: int
    #: The largest single file a process may write.
    file_bytes: int
    #: Share of processor time, in cores.
    cpus: float = 1.0
    #: Of the work directory, which both stages share: the larger of their limits holds for it.
    disk_bytes: int = 128 * MIB
    disk_files: int = 16384
    on_output_limit: OnOutputLimit = OnOutputLimit.STOP


class PartRef(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One payload part: here if small, else in the `payloads` collection in chunks."""

    size_bytes: int
    sha256: str
    #: The bytes themselves when the whole payload is small enough to travel with the document.
    inline: bytes | None = None


class ArtifactRequest(Struct, frozen=True, kw_only=True):
    """Which files of the work directory are kept when the stages are over."""

    #: Patterns relative to the work directory: `*` within a folder, `**` across folders.
    globs: tuple[str, ...]
    max_bytes: int
    max_files: int


class TaskSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user submitted, minus the bytes that are stored apart.

    `timeout_s` keeps KV2's numbers as given (0 = no limit of the user's own); `limits` is what is
    enforced. A missing part is an empty one, except sources and data, where missing means none.
    """

    user: int
    compile_timeout_s: int
    execute_timeout_s: int
    compile_limits: StageLimits
    execute_limits: StageLimits
    parts: dict[Part, PartRef]
    #: Variables of both stages, on top of what the sandbox sets.
    environment: dict[str, str] = {}
    #: Further ones of one stage, which win over those of both.
    stage_environment: dict[Stage, dict[str, str]] = {}
    #: Label of the root file system to run in; empty: the executor's own programs.
    image: str = ""
    #: Whether a compile stage may be answered from an executor's cache.
    cache: bool = True
    artifacts: ArtifactRequest | None = None

    @property
    def compiles(self) -> bool:
        """An empty compile command starts no jail."""
        return Part.COMPILE_COMMAND in self.parts

    @property
    def executes(self) -> bool:
        return Part.EXECUTE_COMMAND in self.parts

    def environment_of(self, stage: Stage) -> dict[str, str]:
        """What the task adds to the sandbox's own variables in `stage`."""
        return {**self.environment, **self.stage_environment.get(stage, {})}


class StreamRef(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One captured output: inline if small, else in the `outputs` collection in chunks."""

    size_bytes: int
    inline: bytes | None = None


class Omission(StrEnum):
    """Why a file that was asked for is not among the artifacts."""

    TOO_MANY = "too_many"
    TOO_LARGE = "too_large"
    #: A link, a pipe, a socket or a device; nothing is followed or read from.
    NOT_A_FILE = "not_a_file"
    #: A folder below the depth that is looked at.
    TOO_DEEP = "too_deep"
    UNREADABLE = "unreadable"
    #: Not looked at: the time or the number of names to look at was used up.
    NOT_REACHED = "not_reached"


class ArtifactRef(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One kept file. Its bytes begin where those of the one before it in the list end."""

    #: Relative to the work directory; a task may use any bytes but NUL.
    name: bytes
    size_bytes: int
    sha256: bytes
    crc32: int
    #: Seconds since 1970, within what a zip archive can say.
    modified_s: int
    executable: bool = False


class LeftOut(Struct, frozen=True, kw_only=True, omit_defaults=True):
    count: int
    #: The first few, cut to a length that can be shown.
    names: tuple[bytes, ...] = ()


class Artifacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files one attempt left and was asked for: one stream of bytes, stored in chunks."""

    #: Of every chunk but the last, so that a part of the stream can be found.
    chunk_bytes: int
    files: tuple[ArtifactRef, ...] = ()
    left_out: dict[Omission, LeftOut] = {}

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


class CacheUse(StrEnum):
    """What the executor's cache of compile stages had to do with one."""

    #: Not run: an earlier run of the same was restored, with its outputs and its measurements.
    HIT = "hit"
    MISS = "miss"
    #: Not asked: the task or the operator does not want it, or the toolchain is being looked at.
    OFF = "off"


class StreamCut(Struct, frozen=True, kw_only=True):
    """Of an output that is larger than its limit the beginning and the end are kept, one behind
    the other."""

    #: All that was written, as far as it was read.
    seen_bytes: int
    #: How much of the beginning is kept: what follows it comes from the end.
    gap_at: int


class StageOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was measured of one stage. `limit` and `observed` share the unit of the reason:
    ms for times, bytes for sizes, a count for processes."""

    reason: Reason
    exit_code: int | None = None
    signal: int | None = None
    limit: int | None = None
    observed: int | None = None
    wall_ms: int = 0
    cpu_user_ms: int = 0
    cpu_system_ms: int = 0
    memory_peak_bytes: int = 0
    #: None where the kernel does not count it (before Linux 6.11).
    pids_peak: int | None = None
    #: Handed to write calls, for files, pipes and outputs; None where the kernel does not count.
    written_bytes: int | None = None
    #: Bytes kept of each stream; the limit may have cut more.
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    #: None if all of it was kept.
    stdout_cut: StreamCut | None = None
    stderr_cut: StreamCut | None = None
    #: One sentence for people: "killed after 1.00 s of wall time (limit 1 s)".
    note: str | None = None
    #: Of a compile stage; a hit's measurements are those of the run that was cached.
    cache: CacheUse | None = None

    @property
    def ok(self) -> bool:
        return self.reason is Reason.OK


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one attempt ended, and what it left: the result that is recorded once."""

    ending: Ending
    reason: Reason
    #: The stage that decided the ending; None when no stage did.
    stage: Stage | None = None
    compile: StageOutcome | None = None
    execute: StageOutcome | None = None
    streams: dict[Stream, StreamRef] = {}
    #: None if none were asked for, or no stage was reached.
    artifacts: Artifacts | None = None
    note: str | None = None
    #: Who ran it; None for an ending that no executor reported.
    executor: ExecutorName | None = None
    #: What held on its host.
    enforcement: Enforcement | None = None


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
    started_at: datetime | None = None
    done_at: datetime | None = None

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
    executor: ExecutorName | None = None
    stage: Stage | None = None
    reason: Reason | None = None

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
        executor=task.executor,
        stage=outcome.stage if outcome else None,
        reason=outcome.reason if outcome else None,
    )
