"""A task and the cluster as the second API shows them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.executor import CacheCounts, ImageInfo, SessionState
from khala.model.limits import VIEW_TEXT_BYTES
from khala.model.task import (
    ArtifactRequest,
    Artifacts,
    CacheUse,
    Ending,
    Outcome,
    Part,
    Reason,
    Stage,
    StageLimits,
    StageOutcome,
    Stream,
    StreamCut,
    Task,
    TaskState,
)
from roles.gateway.artifacts import LeftOutView, view_left_out
from roles.gateway.cluster import Seen
from roles.gateway.kv2_view import explain
from roles.gateway.pending import PendingView
from roles.gateway.texts import TextRef, part_ref, stream_ref
from roles.gateway.times import rfc3339


class GapView(Struct, frozen=True, kw_only=True):
    """Bytes of an output that were not kept."""

    #: How many of the kept bytes come before it.
    at: int
    missing: int


class StreamView(Struct, frozen=True, kw_only=True):
    """The beginning of an output; the download has all that was kept."""

    #: Bytes that are known to have been written.
    size: int
    kept: int
    #: Up to the gap, if there is one.
    text: str
    gap: GapView | None
    #: What was kept from behind the gap; None without one, and for outputs beyond this view.
    tail: str | None
    #: `text` and `tail` are not all that was kept.
    truncated: bool


class ResultView(Struct, frozen=True, kw_only=True):
    reason: Reason
    exit_code: int | None
    signal: int | None
    limit: int | None
    observed: int | None
    wall_ms: int
    cpu_user_ms: int
    cpu_system_ms: int
    memory_peak_bytes: int
    pids_peak: int | None
    written_bytes: int | None
    message: str | None
    #: Of a compile stage.
    cache: CacheUse | None
    stdout: StreamView
    stderr: StreamView


class StageView(Struct, frozen=True, kw_only=True):
    command: str
    timeout_s: int
    limits: StageLimits
    #: What the task adds to the variables of this stage.
    env: dict[str, str]
    #: None until the task is done, and if this stage was not reached.
    result: ResultView | None


class FileView(Struct, frozen=True, kw_only=True):
    size: int
    sha256: str


class TextView(Struct, frozen=True, kw_only=True):
    size: int
    text: str


class InputsView(Struct, frozen=True, kw_only=True):
    compile_source: FileView | None
    execute_data: FileView | None
    execute_input: TextView
    execute_standard: TextView


class ArtifactsSummary(Struct, frozen=True, kw_only=True):
    """The list of them has an address of its own."""

    files: int
    size: int
    left_out: list[LeftOutView]


class ArtifactsRequestView(Struct, frozen=True, kw_only=True):
    """Which files were asked for."""

    collect: tuple[str, ...]
    max_total: int
    max_files: int


class TaskView(Struct, frozen=True, kw_only=True):
    id: str
    user: int
    state: TaskState
    reason: Reason | None
    message: str | None
    attempt: int
    crashes: int
    executor: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    updated_at: str
    #: What held where it ran; None until the task is done, or if it never ran.
    enforcement: Enforcement | None
    stages: dict[Stage, StageView]
    inputs: InputsView
    #: None until the task is done, and if it asked for none.
    artifacts: ArtifactsSummary | None
    artifacts_request: ArtifactsRequestView | None
    #: Why it waits; None if it does not, or nobody can say.
    pending: PendingView | None
    image: str
    #: "auto" or "off".
    cache: str


class ExecutorNode(Struct, frozen=True, kw_only=True):
    name: str
    state: SessionState
    slots: int
    free: int
    seen_at: str
    version: str
    #: None of an executor that is too old to say.
    enforcement: Enforcement | None
    #: None while nobody knows.
    cache: CacheCounts | None
    #: Root file systems that tasks may name.
    images: tuple[ImageInfo, ...]


class JudicatorNode(Struct, frozen=True, kw_only=True):
    name: str
    address: str
    leader: bool
    serving: bool
    version: str


class NodesView(Struct, frozen=True, kw_only=True):
    executors: list[ExecutorNode]
    judicators: list[JudicatorNode]


class StatusView(Struct, frozen=True, kw_only=True):
    version: str
    #: A task would be accepted now.
    ready: bool
    queued: int
    running: int
    slots: int
    free: int
    notes: list[str]


_COMMAND = {Stage.COMPILE: Part.COMPILE_COMMAND, Stage.EXECUTE: Part.EXECUTE_COMMAND}
_OUTPUTS = {
    Stage.COMPILE: (Stream.COMPILE_OUTPUT, Stream.COMPILE_ERROR),
    Stage.EXECUTE: (Stream.EXECUTE_OUTPUT, Stream.EXECUTE_ERROR),
}
_TEXT_PARTS = (
    Part.COMPILE_COMMAND,
    Part.EXECUTE_COMMAND,
    Part.EXECUTE_INPUT,
    Part.EXECUTE_STANDARD,
)

Heads = Mapping[Part | Stream, bytes]


def etag_of(task: Task) -> str:
    """Changes whenever the view does: everything in it follows from these."""
    stamp = int(task.updated_at.timestamp() * 1000)
    return f"{task.attempt}-{task.state}-{stamp:x}"


def refs_viewed(task: Task) -> list[TextRef]:
    return [
        *(part_ref(task, part) for part in _TEXT_PARTS),
        *(stream_ref(task, stream) for stream in Stream),
    ]


def view_task(task: Task, heads: Heads, pending: PendingView | None = None) -> TaskView:
    """`heads` holds the first `VIEW_TEXT_BYTES` of every text of `refs_viewed`."""
    outcome = task.outcome
    return TaskView(
        id=task.id,
        user=task.spec.user,
        state=task.state,
        reason=outcome.reason if outcome else None,
        message=_message(outcome),
        attempt=task.attempt,
        crashes=task.crashes,
        executor=task.executor or (task.outcome.executor if task.outcome else None),
        created_at=rfc3339(task.submitted_at),
        started_at=rfc3339(task.started_at) if task.started_at else None,
        finished_at=rfc3339(task.done_at) if task.done_at else None,
        updated_at=rfc3339(task.updated_at),
        enforcement=outcome.enforcement if outcome else None,
        stages={stage: _view_stage(task, stage, heads) for stage in Stage},
        inputs=InputsView(
            compile_source=_view_file(task, Part.COMPILE_SOURCE),
            execute_data=_view_file(task, Part.EXECUTE_DATA),
            execute_input=_view_text(task, Part.EXECUTE_INPUT, heads),
            execute_standard=_view_text(task, Part.EXECUTE_STANDARD, heads),
        ),
        artifacts=_summarize(outcome.artifacts) if outcome and outcome.artifacts else None,
        artifacts_request=view_artifacts_request(task.spec.artifacts),
        pending=pending,
        image=task.spec.image,
        cache="auto" if task.spec.cache else "off",
    )


def view_artifacts_request(request: ArtifactRequest | None) -> ArtifactsRequestView | None:
    if request is None:
        return None
    return ArtifactsRequestView(
        collect=request.globs, max_total=request.max_bytes, max_files=request.max_files
    )


def _summarize(artifacts: Artifacts) -> ArtifactsSummary:
    return ArtifactsSummary(
        files=len(artifacts.files),
        size=artifacts.size_bytes,
        left_out=view_left_out(artifacts),
    )


def _message(outcome: Outcome | None) -> str | None:
    if outcome is None or outcome.ending in {Ending.SUCCEEDED, Ending.CANCELLED}:
        return outcome.note if outcome else None
    return explain(outcome)


def _view_stage(task: Task, stage: Stage, heads: Heads) -> StageView:
    spec, outcome = task.spec, task.outcome
    compiles = stage is Stage.COMPILE
    ended = None
    if outcome is not None:
        ended = outcome.compile if compiles else outcome.execute
    return StageView(
        command=_decode(heads[_COMMAND[stage]]),
        timeout_s=spec.compile_timeout_s if compiles else spec.execute_timeout_s,
        limits=spec.compile_limits if compiles else spec.execute_limits,
        env=spec.environment_of(stage),
        result=_view_result(task, stage, ended, heads) if ended else None,
    )


def _view_result(task: Task, stage: Stage, ended: StageOutcome, heads: Heads) -> ResultView:
    stdout, stderr = _OUTPUTS[stage]
    return ResultView(
        reason=ended.reason,
        exit_code=ended.exit_code,
        signal=ended.signal,
        limit=ended.limit,
        observed=ended.observed,
        wall_ms=ended.wall_ms,
        cpu_user_ms=ended.cpu_user_ms,
        cpu_system_ms=ended.cpu_system_ms,
        memory_peak_bytes=ended.memory_peak_bytes,
        pids_peak=ended.pids_peak,
        written_bytes=ended.written_bytes,
        message=ended.note,
        cache=ended.cache,
        stdout=_view_stream(task, stdout, ended.stdout_cut, heads),
        stderr=_view_stream(task, stderr, ended.stderr_cut, heads),
    )


def _view_stream(task: Task, stream: Stream, cut: StreamCut | None, heads: Heads) -> StreamView:
    kept, head = stream_ref(task, stream).size_bytes, heads[stream]
    whole = kept <= len(head)
    if cut is None:
        return StreamView(
            size=kept, kept=kept, text=_decode(head), gap=None, tail=None, truncated=not whole
        )
    return StreamView(
        size=max(cut.seen_bytes, kept),
        kept=kept,
        text=_decode(head[: cut.gap_at], at_a_cut=True),
        gap=GapView(at=cut.gap_at, missing=max(0, cut.seen_bytes - kept)),
        tail=_decode(head[cut.gap_at :].lstrip(_CONTINUATIONS)) if whole else None,
        truncated=not whole,
    )


def _view_file(task: Task, part: Part) -> FileView | None:
    ref = task.spec.parts.get(part)
    return FileView(size=ref.size_bytes, sha256=ref.sha256) if ref else None


def _view_text(task: Task, part: Part, heads: Heads) -> TextView:
    return TextView(size=part_ref(task, part).size_bytes, text=_decode(heads[part]))


#: Bytes in the middle of a character.
_CONTINUATIONS = bytes(range(0x80, 0xC0))


def _decode(head: bytes, *, at_a_cut: bool = False) -> str:
    """A character that the cut went through is left out, not shown as a broken one."""
    if at_a_cut or len(head) == VIEW_TEXT_BYTES:
        for length in range(1, min(4, len(head) + 1)):
            start = head[-length]
            if start >= 0xC0:
                whole = 2 if start < 0xE0 else 3 if start < 0xF0 else 4
                head = head[:-length] if length < whole else head
                break
            if start < 0x80:
                break
    return head.decode("utf-8", "replace")


def view_nodes(seen: Seen) -> NodesView:
    return NodesView(
        executors=[
            ExecutorNode(
                name=executor.record.name,
                state=executor.record.state,
                slots=executor.record.slots,
                free=executor.free,
                seen_at=rfc3339(executor.record.seen_at),
                version=executor.record.version,
                enforcement=executor.record.enforces,
                cache=executor.cache,
                images=executor.record.images,
            )
            for executor in seen.executors
        ],
        judicators=[
            JudicatorNode(
                name=judicator.record.name,
                address=judicator.record.address,
                leader=judicator.record.leader,
                serving=judicator.serving,
                version=judicator.version,
            )
            for judicator in seen.judicators
        ],
    )
