"""What a task is asked to do: its stages, their limits, and the bytes they work on.

A spec is immutable after acceptance, but for what a person may change (`khala.model.patch`), which
no executor acts on. Its fields travel unchanged from the gateway's request to the stored document
to the executor, so each is written down once, in `TaskOptions`; a field that only one of them had
would be lost on the way without a word.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property

from msgspec import Struct

from khala.model.blob import BlobName
from khala.model.cases import Case, Check
from khala.model.depends import Predecessor
from khala.model.ids import JobId, TaskId
from khala.model.limits import CRASH_LIMIT, MIB
from khala.model.retry import Retry
from khala.model.wants import Wants


class Stage(StrEnum):
    COMPILE = "compile"
    EXECUTE = "execute"


class Part(StrEnum):
    """The named pieces of a task's payload."""

    COMPILE_SOURCE = "compile_source"
    COMPILE_COMMAND = "compile_command"
    EXECUTE_INPUT = "execute_input"
    EXECUTE_DATA = "execute_data"
    EXECUTE_COMMAND = "execute_command"
    EXECUTE_STANDARD = "execute_standard"
    #: Inputs and expected outputs of all cases: see `khala.model.cases.Case`.
    CASES = "cases"
    #: A checker: its files, how it is compiled and how it is asked.
    CHECK_SOURCE = "check_source"
    CHECK_COMPILE = "check_compile"
    CHECK_COMMAND = "check_command"


class OnOutputLimit(StrEnum):
    """What becomes of a stage that writes more than its outputs may hold."""

    #: It is killed and has failed.
    STOP = "stop"
    #: It goes on; the first and the last of what it wrote is kept.
    TRUNCATE = "truncate"


class Network(StrEnum):
    """What of a network both stages of a task have."""

    #: No interface that is up.
    NONE = "none"
    #: A loopback interface of their own, which leads nowhere.
    LOOPBACK = "loopback"
    #: Their executor's host's, where its operator allows that.
    FULL = "full"


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
    """One payload part: here if small, else a blob."""

    size_bytes: int
    sha256: str
    #: The bytes themselves when the whole payload is small enough to travel with the document.
    inline: bytes | None = None
    #: They are the blob of this hash. Neither: an older version stored them by their task.
    blob: bool = False


class ArtifactRequest(Struct, frozen=True, kw_only=True):
    """Which files of the work directory are kept when the stages are over."""

    #: Patterns relative to the work directory: `*` within a folder, `**` across folders.
    globs: tuple[str, ...]
    max_bytes: int
    max_files: int


def shape_of(image: str, needs: int, network: Network) -> str:
    """See `TaskOptions.base`; no image has such a name. Every executor has the other networks."""
    offered = f"@{network}" if network is Network.FULL else ""
    return f"{image}+{needs}{offered}" if needs else image


class TaskOptions(Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """What a user chooses beside the bytes; the same from the request to the stored task.

    `timeout_s` keeps KV2's numbers as given (0 = no limit of the user's own); `limits` is what is
    enforced.
    """

    user: int
    compile_timeout_s: int
    execute_timeout_s: int
    compile_limits: StageLimits
    execute_limits: StageLimits
    #: Variables of both stages, on top of what the sandbox sets.
    environment: dict[str, str] = {}
    #: Further ones of one stage, which win over those of both.
    stage_environment: dict[Stage, dict[str, str]] = {}
    #: Label of the root file system to run in; empty: the executor's own programs.
    image: str = ""
    network: Network = Network.LOOPBACK
    #: Whether a compile stage may be answered from an executor's cache.
    cache: bool = True
    artifacts: ArtifactRequest | None = None
    #: For people; names need not differ.
    name: str = ""
    labels: dict[str, str] = {}
    #: From -PRIORITY_MAX to PRIORITY_MAX; see `khala.model.order`.
    priority: int = 0
    #: The execute stage runs once for each, or once if there are none.
    cases: tuple[Case, ...] = ()
    #: How outputs are judged; see `TaskSpec.judged_by`.
    check: Check | None = None
    #: Of each question to a checker; it is compiled under the limits of the compile stage.
    check_limits: StageLimits | None = None
    stop_on_first_failure: bool = False
    #: Which of its results are not the last; None: the first one is.
    retry: Retry | None = None
    #: It does not begin before these have ended.
    depends_on: tuple[Predecessor, ...] = ()
    #: Attempts that end with the loss of their executor; the last one ends the task.
    max_crashes: int = CRASH_LIMIT
    #: The task ends if no attempt has begun so long after its acceptance, whatever it waits for.
    queue_ttl_s: float | None = None
    #: It is removed so long after its end, if it is a task of its own; see `khala.model.retention`.
    retention_s: int | None = None
    #: The task that it repeats; a link and nothing more, which may lead to one that is gone.
    rerun_of: TaskId | None = None
    #: The caller's span, as `traceparent` of W3C's Trace Context.
    traceparent: str = ""
    #: What its readers must know (see `khala.model.capabilities`).
    needs: int = 0
    wants: Wants = Wants()

    @cached_property
    def base(self) -> str:
        """The part of its shape that follows from its image, its network and what its readers
        know."""
        return shape_of(self.image, self.needs, self.network)

    @cached_property
    def shape(self) -> str:
        """What it needs of an executor, as a key: tasks of one shape are given to the same ones, so
        they wait in one line, and tasks of another shape in another."""
        digest = self.wants.digest
        return f"{self.base}#{digest}" if digest else self.base


class Member(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which one of a job's tasks it is."""

    job: JobId
    #: Of an array: its index. Of a list: its place, from 0 on.
    index: int
    #: Of an array with entries: its line.
    entry: str | None = None


class TaskSpec(TaskOptions, frozen=True, kw_only=True, omit_defaults=True):
    """What a user submitted, minus the bytes that are stored apart.

    A missing part is an empty one, except sources and data, where missing means none.
    """

    parts: dict[Part, PartRef]
    #: None for a task of its own.
    member: Member | None = None

    @classmethod
    def of(cls, options: TaskOptions, parts: dict[Part, PartRef]) -> TaskSpec:
        """The options of a request, with its parts as they are stored."""
        chosen = {name: getattr(options, name) for name in TaskOptions.__struct_fields__}
        return cls(parts=parts, **chosen)

    @property
    def judged_by(self) -> Check | None:
        """None if nothing is expected. KV2's tasks name no check; theirs are judged by words."""
        if self.check is None and Part.EXECUTE_STANDARD in self.parts:
            return Check()
        return self.check

    @property
    def compiles(self) -> bool:
        """An empty compile command starts no jail."""
        return Part.COMPILE_COMMAND in self.parts

    @property
    def executes(self) -> bool:
        return Part.EXECUTE_COMMAND in self.parts

    @property
    def blobs(self) -> list[BlobName]:
        """Those that must stay while the task does."""
        return [BlobName(ref.sha256) for ref in self.parts.values() if ref.blob]

    def environment_of(self, stage: Stage) -> dict[str, str]:
        """What the task adds to the sandbox's own variables in `stage`."""
        return {**self.environment, **self.stage_environment.get(stage, {})}
