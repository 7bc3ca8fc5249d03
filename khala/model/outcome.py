"""How an attempt ended, what was measured of it, and what it left.

An outcome is recorded once and never changes. It holds references to outputs and artifacts, not
their bytes, beyond those small enough to travel with the document.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import UNSET, Struct, UnsetType

from khala.model.cases import Judgement, Score, Span, Verdict
from khala.model.enforcement import Enforcement
from khala.model.ids import ExecutorName
from khala.model.spec import Stage


class Ending(StrEnum):
    """How a task ended."""

    #: Both stages exited with 0.
    SUCCEEDED = "succeeded"
    #: A stage ended otherwise, or was ended by a limit.
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: Khala could not run it to an end: bad input, executors lost too often, an internal fault.
    ERROR = "error"


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
    #: A task that it depends on did not end as it had to.
    DEPENDENCY_FAILED = "dependency_failed"
    #: No attempt began within the task's `queue_ttl_s`.
    QUEUE_TTL = "queue_ttl"
    EXECUTOR_LOST_REPEATEDLY = "executor_lost_repeatedly"
    SETUP_FAILED = "setup_failed"
    INTERNAL = "internal"


class Stream(StrEnum):
    """The four outputs of a task, named as KV2 names their files."""

    COMPILE_OUTPUT = "compile_output"
    COMPILE_ERROR = "compile_error"
    EXECUTE_OUTPUT = "execute_output"
    EXECUTE_ERROR = "execute_error"


class Bundle(StrEnum):
    """Several files as one stream of bytes, stored as outputs are."""

    ARTIFACTS = "artifacts"
    #: Outputs of all cases in their order, of each first stdout and then stderr.
    CASES = "cases"


#: What an attempt leaves in chunks.
Chunked: TypeAlias = Stream | Bundle


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


class Cancellation(Struct, frozen=True, kw_only=True):
    """Who cancelled a task or a job, and why: in the canceller's own words, which may be none."""

    by: str = ""
    reason: str = ""
    #: So long what runs has from SIGTERM to its end; unset: none.
    grace_s: float | UnsetType = UNSET

    @property
    def sentence(self) -> str:
        """ "cancelled by ann: wrong input"."""
        by = f" by {self.by}" if self.by else ""
        return f"cancelled{by}: {self.reason}" if self.reason else f"cancelled{by}"


class CaseOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one case. `stdout_bytes` and `stderr_bytes` of its run are what is kept."""

    #: None if it was not run.
    execute: StageOutcome | None = None
    #: None if nothing is expected of it.
    judgement: Judgement | None = None

    @property
    def kept_bytes(self) -> int:
        """Of both outputs."""
        return self.execute.stdout_bytes + self.execute.stderr_bytes if self.execute else 0

    @property
    def failed(self) -> bool:
        """It ended badly, or with another output than expected."""
        if self.judgement is not None:
            return not self.accepted
        return self.execute is not None and not self.execute.ok

    @property
    def accepted(self) -> bool:
        return self.judgement is not None and self.judgement.verdict is Verdict.AC


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one attempt ended, and what it left: the result that is recorded once."""

    ending: Ending
    reason: Reason
    #: The stage that decided the ending; None when no stage did.
    stage: Stage | None = None
    compile: StageOutcome | None = None
    #: Of a task with cases their sum; what ended it is that of the first that did not end well.
    execute: StageOutcome | None = None
    streams: dict[Stream, StreamRef] = {}
    #: One for each case of the task, once the execute stage was reached or could not be.
    cases: tuple[CaseOutcome, ...] = ()
    #: The bundle `cases`.
    case_outputs: StreamRef | None = None
    #: Of the only output, or of all cases together; None where nothing was expected, or where
    #: nothing can be said.
    judgement: Judgement | None = None
    score: Score | None = None
    #: None if none were asked for, or no stage was reached.
    artifacts: Artifacts | None = None
    note: str | None = None
    #: Of a task that was cancelled, if anything was said of it.
    cancellation: Cancellation | None = None
    #: Who ran it; None for an ending that no executor reported.
    executor: ExecutorName | None = None
    #: What held on its host.
    enforcement: Enforcement | None = None

    def case_span(self, number: int, stream: Stream) -> Span:
        """Of an output of case `number`, from 1, in the bundle `cases`."""
        first = sum(case.kept_bytes for case in self.cases[: number - 1])
        executed = self.cases[number - 1].execute
        if executed is None or stream not in (Stream.EXECUTE_OUTPUT, Stream.EXECUTE_ERROR):
            return Span(first, 0)
        if stream is Stream.EXECUTE_OUTPUT:
            return Span(first, executed.stdout_bytes)
        return Span(first + executed.stdout_bytes, executed.stderr_bytes)
