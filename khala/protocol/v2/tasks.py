"""A task: whole, as a row of a list, and as it would become."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from khala.model.cases import Verdict
from khala.model.enforcement import Enforcement
from khala.model.ids import JobId, TaskId
from khala.model.outcome import CacheUse, Cancellation, Reason
from khala.model.spec import Network, StageLimits
from khala.model.task import TERMINAL, TaskState
from khala.protocol.v2.attempts import Predecessor, Retry
from khala.protocol.v2.cases import Case, Check, Difference, Score
from khala.protocol.v2.files import ArtifactsRequest, ArtifactsSummary
from khala.protocol.v2.moments import tag_of
from khala.protocol.v2.waiting import Pending


class Gap(Struct, frozen=True, kw_only=True):
    """Bytes of an output that were not kept."""

    #: How many of the kept bytes come before it.
    at: int
    missing: int


class Output(Struct, frozen=True, kw_only=True):
    """The beginning of a stream of a stage; the download has all that was kept."""

    #: Bytes that are known to have been written.
    size: int
    kept: int
    #: Up to the gap, if there is one.
    text: str
    gap: Gap | None
    #: What was kept from behind the gap; null without one, and for outputs beyond this view.
    tail: str | None
    #: `text` and `tail` are not all that was kept.
    truncated: bool


class Result(Struct, frozen=True, kw_only=True):
    """How a stage ended. `limit` and `observed` have the unit of the reason: milliseconds, bytes,
    processes or files."""

    reason: Reason
    exit_code: int | None
    signal: int | None
    limit: int | None
    observed: int | None
    wall_ms: int
    cpu_user_ms: int
    cpu_system_ms: int
    memory_peak_bytes: int
    #: Null where the kernel does not count it (before Linux 6.11).
    pids_peak: int | None
    #: Handed to write calls, for files, pipes and outputs; null where the kernel does not count.
    written_bytes: int | None
    #: One sentence for people.
    message: str | None
    #: Of a compile stage.
    cache: CacheUse | None
    stdout: Output
    stderr: Output


class Stage(Struct, frozen=True, kw_only=True):
    """One of the two commands of a task."""

    command: str
    #: As KV2 counts: whole seconds, 0 if the submission named none.
    timeout_s: int
    limits: StageLimits
    #: What the task adds to the variables of this stage.
    env: dict[str, str]
    #: Null until the task is done, and if this stage was not reached.
    result: Result | None


class Stages(Struct, frozen=True, kw_only=True):
    """Both are shown; one that the task does not have has an empty command."""

    compile: Stage
    execute: Stage


class File(Struct, frozen=True, kw_only=True):
    """An input, by its digest."""

    size: int
    sha256: str


class Text(Struct, frozen=True, kw_only=True):
    """The beginning of an input."""

    size: int
    text: str


class CaseDetail(Struct, frozen=True, kw_only=True):
    """One case, with the beginning of each of its texts."""

    case: Case
    stdin: Text
    #: Null where nothing is expected.
    expected: Text | None
    stdout: Text
    stderr: Text


class Inputs(Struct, frozen=True, kw_only=True):
    """What a task was given; null for an archive that it was not."""

    compile_source: File | None
    execute_data: File | None
    execute_input: Text
    execute_standard: Text


class Place(Struct, frozen=True, kw_only=True):
    """Which one of a job's tasks a task is."""

    id: JobId
    #: Of an array: its index. Of a list: its place, from 0 on.
    index: int


class Placement(Struct, frozen=True, kw_only=True):
    """Labels of executors that a task may, may not or would rather run on."""

    require: dict[str, str] = {}
    avoid: dict[str, str] = {}
    prefer: dict[str, str] = {}


class Task(Struct, frozen=True, kw_only=True):
    """The whole of it."""

    id: str
    user: int
    state: TaskState
    #: Null until the end.
    reason: Reason | None
    #: Why it ended so, in a sentence.
    message: str | None
    #: Who cancelled it and why; null if it was not cancelled, or nothing was said.
    cancellation: Cancellation | None = None
    #: Tries so far.
    attempt: int
    #: Those that ended with the loss of their executor.
    crashes: int
    executor: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    #: What held where it ran; null until the task is done, or if it never ran.
    enforcement: Enforcement | None
    stages: Stages
    inputs: Inputs
    #: Null until the task is done, and if it asked for none.
    artifacts: ArtifactsSummary | None
    artifacts_request: ArtifactsRequest | None
    #: Why it waits; null if it does not, or nobody can say.
    pending: Pending | None
    name: str = ""
    #: Null for a task of its own.
    job: Place | None = None
    labels: dict[str, str] = {}
    priority: int = 0
    #: A person holds it: it does not begin before it is released.
    held: bool = False
    #: What it takes up of its executor beside a slot.
    resources: dict[str, float] = {}
    placement: Placement = Placement()
    image: str
    network: Network = Network.LOOPBACK
    #: "auto" or "off".
    cache: str
    #: Whether the output was right, of several cases the worst; null where nothing is expected, and
    #: where nothing can be said.
    verdict: Verdict | None = None
    score: Score | None = None
    #: Of the only output of a task without cases.
    first_difference: Difference | None = None
    check: Check | None = None
    cases: list[Case] = []
    stop_on_first_failure: bool = False
    #: What has to end before it begins.
    depends_on: list[Predecessor] = []
    #: Null if its first result is its last.
    retry: Retry | None = None
    #: Results that were not its last.
    retries: int = 0
    #: As `crashes`: the last one ends the task.
    max_crashes: int = 3
    #: The task ends if no attempt has begun so long after its submission; null for no limit.
    queue_ttl_s: float | None = None
    #: What it says itself of how long after its end it is removed, rounded up; null: as the cluster
    #: keeps any.
    retention_s: int | None = None
    #: When that is, once it has ended: no sooner, but the cluster may keep any for less. Null for
    #: the task of a job, which is removed with its job.
    removed_after: datetime | None = None
    #: The task that it repeats; it may be gone.
    rerun_of: str | None = None
    #: W3C's Trace Context, as its submission had it.
    traceparent: str = ""

    @property
    def done(self) -> bool:
        return self.state in TERMINAL

    @property
    def tag(self) -> str:
        """What `If-Match` compares; what its waiting adds to an `ETag` is not in it."""
        return tag_of(self.attempt, self.state, self.updated_at)

    @property
    def last_stage(self) -> Stage | None:
        """The one that ran last and so decided the end; None if none did."""
        for stage in (self.stages.execute, self.stages.compile):
            if stage.result is not None:
                return stage
        return None


class Row(Struct, frozen=True, kw_only=True):
    """A task in a list, and the data of `event: task`."""

    id: TaskId
    user: int
    name: str = ""
    state: TaskState
    #: The same for KV2's clients.
    kv2_status: int
    reason: Reason | None
    executor: str | None
    attempt: int
    created_at: datetime
    updated_at: datetime
    #: It has ended for good.
    done: bool
    verdict: Verdict | None = None
    score: Score | None = None
    finished_at: datetime | None = None
    #: Null for a task of its own.
    job: Place | None = None
    #: Who cancelled it and why; null if it was not cancelled, or nothing was said.
    cancellation: Cancellation | None = None
    #: A person holds it.
    held: bool = False
    priority: int = 0


class Page(Struct, frozen=True, kw_only=True):
    """A part of a list."""

    #: May be fewer than asked for, and none, on a page that is not the last: a filter that no index
    #: serves is followed for a while only, and goes on with the next page.
    items: list[Row]
    #: Hand it back as `cursor` for the next page; null on the last one.
    next_cursor: str | None
    #: The same for the page before; null on the first one.
    prev_cursor: str | None = None
    #: Tasks of the whole list, said on its first page if an index can count them.
    total: int | None = None
    #: There may be more than `total`.
    total_is_exact: bool = False


class Links(Struct, frozen=True, kw_only=True):
    """Where a task can be seen: by programs, and by people."""

    self: str
    ui: str


class Created(Struct, frozen=True, kw_only=True):
    """A task that was accepted."""

    id: TaskId
    links: Links


class PlannedStage(Struct, frozen=True, kw_only=True):
    """What would hold for a stage."""

    limits: StageLimits
    env: dict[str, str]


class PlannedStages(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Those that the document has."""

    compile: PlannedStage | None = None
    execute: PlannedStage | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """What a task of this document would get."""

    user: int
    name: str = ""
    labels: dict[str, str] = {}
    priority: int = 0
    #: It does not begin before it is released.
    held: bool = False
    #: What it takes up of its executor beside a slot.
    resources: dict[str, float] = {}
    placement: Placement = Placement()
    stages: PlannedStages
    image: str
    network: Network = Network.LOOPBACK
    #: "auto" or "off".
    cache: str
    artifacts: ArtifactsRequest | None
    depends_on: list[Predecessor] = []
    retry: Retry | None = None
    max_crashes: int = 3
    queue_ttl_s: float | None = None
    retention_s: int | None = None
    #: Bytes of each archive and text as it would be stored.
    inputs: dict[str, int]
