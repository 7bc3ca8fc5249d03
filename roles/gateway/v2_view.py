"""From a task and the cluster to what `khala.protocol.v2` shows of them."""

from __future__ import annotations

from collections.abc import Mapping

from khala.model.holds import RELEASE
from khala.model.outcome import Artifacts, Ending, Outcome, StageOutcome, Stream, StreamCut
from khala.model.retention import removal_date
from khala.model.spec import ArtifactRequest, Part, Stage
from khala.model.task import Task
from khala.protocol import v2
from roles.gateway.artifacts import view_left_out
from roles.gateway.cluster import Seen
from roles.gateway.kv2_view import explain
from roles.gateway.rows import place_of
from roles.gateway.spec_depends import view_predecessors
from roles.gateway.spec_order import view_amounts, view_placement
from roles.gateway.spec_tries import view_retry
from roles.gateway.texts import CONTINUATIONS, TextRef, decode, part_ref, stream_ref
from roles.gateway.view_cases import (
    view_cases,
    view_check,
    view_difference,
    view_score,
    view_verdict,
)

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
    return v2.tag_of(task.attempt, task.state, task.updated_at)


def refs_viewed(task: Task) -> list[TextRef]:
    return [
        *(part_ref(task, part) for part in _TEXT_PARTS),
        *(stream_ref(task, stream) for stream in Stream),
    ]


def view_task(task: Task, heads: Heads, pending: v2.Pending | None = None) -> v2.Task:
    """`heads` holds the first `VIEW_TEXT_BYTES` of every text of `refs_viewed`."""
    outcome = task.outcome
    return v2.Task(
        id=task.id,
        user=task.spec.user,
        state=task.state,
        reason=outcome.reason if outcome else None,
        message=_message(outcome),
        cancellation=outcome.cancellation if outcome else None,
        attempt=task.attempt,
        crashes=task.crashes,
        executor=task.executor or (task.outcome.executor if task.outcome else None),
        created_at=v2.stamp(task.submitted_at),
        started_at=v2.stamp(task.started_at) if task.started_at else None,
        finished_at=v2.stamp(task.done_at) if task.done_at else None,
        updated_at=v2.stamp(task.updated_at),
        enforcement=outcome.enforcement if outcome else None,
        stages=v2.Stages(
            compile=_view_stage(task, Stage.COMPILE, heads),
            execute=_view_stage(task, Stage.EXECUTE, heads),
        ),
        inputs=v2.Inputs(
            compile_source=_view_file(task, Part.COMPILE_SOURCE),
            execute_data=_view_file(task, Part.EXECUTE_DATA),
            execute_input=_view_text(task, Part.EXECUTE_INPUT, heads),
            execute_standard=_view_text(task, Part.EXECUTE_STANDARD, heads),
        ),
        artifacts=_summarize(outcome.artifacts) if outcome and outcome.artifacts else None,
        artifacts_request=view_artifacts_request(task.spec.artifacts),
        pending=pending,
        name=task.spec.name,
        labels=task.spec.labels,
        job=place_of(task.spec.member),
        priority=task.spec.priority,
        held=task.hold is not None and RELEASE in task.hold.keys,
        resources=view_amounts(task.spec.wants.amounts),
        placement=view_placement(task.spec.wants),
        image=task.spec.image,
        network=task.spec.network,
        cache="auto" if task.spec.cache else "off",
        rerun_of=task.spec.rerun_of,
        traceparent=task.spec.traceparent,
        verdict=view_verdict(task),
        score=view_score(outcome.score if outcome else None),
        first_difference=view_difference(outcome.judgement if outcome else None),
        check=view_check(task.spec.judged_by),
        cases=view_cases(task),
        stop_on_first_failure=task.spec.stop_on_first_failure,
        depends_on=view_predecessors(task.spec.depends_on),
        retry=view_retry(task.spec.retry),
        retries=task.retries,
        max_crashes=task.spec.max_crashes,
        queue_ttl_s=task.spec.queue_ttl_s,
        retention_s=task.spec.retention_s,
        removed_after=v2.stamp(removed) if (removed := removal_date(task)) else None,
    )


def view_artifacts_request(request: ArtifactRequest | None) -> v2.ArtifactsRequest | None:
    if request is None:
        return None
    return v2.ArtifactsRequest(
        collect=request.globs, max_total=request.max_bytes, max_files=request.max_files
    )


def _summarize(artifacts: Artifacts) -> v2.ArtifactsSummary:
    return v2.ArtifactsSummary(
        files=len(artifacts.files),
        size=artifacts.size_bytes,
        left_out=view_left_out(artifacts),
    )


def _message(outcome: Outcome | None) -> str | None:
    if outcome is None:
        return None
    silent = outcome.ending in {Ending.SUCCEEDED, Ending.CANCELLED}
    return outcome.note if silent and outcome.cancellation is None else explain(outcome)


def _view_stage(task: Task, stage: Stage, heads: Heads) -> v2.Stage:
    spec, outcome = task.spec, task.outcome
    compiles = stage is Stage.COMPILE
    ended = None
    if outcome is not None:
        ended = outcome.compile if compiles else outcome.execute
    return v2.Stage(
        command=decode(heads[_COMMAND[stage]]),
        timeout_s=spec.compile_timeout_s if compiles else spec.execute_timeout_s,
        limits=spec.compile_limits if compiles else spec.execute_limits,
        env=spec.environment_of(stage),
        result=_view_result(task, stage, ended, heads) if ended else None,
    )


def _view_result(task: Task, stage: Stage, ended: StageOutcome, heads: Heads) -> v2.Result:
    stdout, stderr = _OUTPUTS[stage]
    return v2.Result(
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


def _view_stream(task: Task, stream: Stream, cut: StreamCut | None, heads: Heads) -> v2.Output:
    kept, head = stream_ref(task, stream).size_bytes, heads[stream]
    whole = kept <= len(head)
    if cut is None:
        return v2.Output(
            size=kept, kept=kept, text=decode(head), gap=None, tail=None, truncated=not whole
        )
    return v2.Output(
        size=max(cut.seen_bytes, kept),
        kept=kept,
        text=decode(head[: cut.gap_at], at_a_cut=True),
        gap=v2.Gap(at=cut.gap_at, missing=max(0, cut.seen_bytes - kept)),
        tail=decode(head[cut.gap_at :].lstrip(CONTINUATIONS)) if whole else None,
        truncated=not whole,
    )


def _view_file(task: Task, part: Part) -> v2.File | None:
    ref = task.spec.parts.get(part)
    return v2.File(size=ref.size_bytes, sha256=ref.sha256) if ref else None


def _view_text(task: Task, part: Part, heads: Heads) -> v2.Text:
    return v2.Text(size=part_ref(task, part).size_bytes, text=decode(heads[part]))


def view_nodes(seen: Seen) -> v2.Nodes:
    return v2.Nodes(
        executors=[
            v2.ExecutorNode(
                name=executor.record.name,
                state=executor.record.state,
                slots=executor.record.slots,
                free=executor.free,
                seen_at=v2.stamp(executor.record.seen_at),
                version=executor.record.version,
                enforcement=executor.record.enforces,
                cache=executor.cache,
                images=executor.record.images,
                networks=executor.record.networks,
                labels=executor.record.labels,
                resources=view_amounts(executor.record.capacity),
                resources_left=view_amounts(executor.left),
                cordon=executor.record.cordon,
            )
            for executor in seen.executors
        ],
        judicators=[
            v2.JudicatorNode(
                name=judicator.record.name,
                address=judicator.record.address,
                leader=judicator.record.leader,
                serving=judicator.serving,
                version=judicator.version,
            )
            for judicator in seen.judicators
        ],
    )
