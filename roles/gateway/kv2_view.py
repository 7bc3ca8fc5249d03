"""A task in KV2's words: the shape, the texts and the cuts that its clients know.

The golden answers are byte for byte: keys sorted, no spaces, everything beyond ASCII escaped, one
newline at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from khala.model.limits import KV2_TEXT_CHARS
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome, Stream
from khala.model.spec import Part, Stage
from khala.model.status import kv2_status
from khala.model.task import Task, TaskBrief, TaskState, brief_of
from roles.gateway.texts import TextRef, part_ref, stream_ref
from roles.gateway.times import kv2_time

#: No text of an untruncated task is longer: KV2's whole tasks were not.
FULL_TEXT_BYTES = 16_252_928
#: So many bytes hold at least one character more than a cut text shows.
CUT_TEXT_BYTES = 4 * (KV2_TEXT_CHARS + 1)

Json = dict[str, "Json"] | list["Json"] | str | int | bool | None

_PARTS = (
    Part.COMPILE_COMMAND,
    Part.EXECUTE_COMMAND,
    Part.EXECUTE_INPUT,
    Part.EXECUTE_STANDARD,
)
_TIME_OUT = {Stage.COMPILE: "Compile time out.", Stage.EXECUTE: "Execution time out."}
_OUTPUT_LIMIT = {
    Stage.COMPILE: "Compile output limitation exceeded.",
    Stage.EXECUTE: "Execution output limitation exceeded.",
}
_STREAMS = {
    Stage.COMPILE: (Stream.COMPILE_OUTPUT, Stream.COMPILE_ERROR),
    Stage.EXECUTE: (Stream.EXECUTE_OUTPUT, Stream.EXECUTE_ERROR),
}


def encode(body: Mapping[str, Json]) -> bytes:
    return (json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n").encode()


def has_result(task: Task) -> bool:
    """KV2 shows a result once an executor has reported one; a cancelled task has none."""
    return task.outcome is not None and task.outcome.ending is not Ending.CANCELLED


def refs_shown(task: Task) -> list[TextRef]:
    """The texts that the view of this task needs."""
    refs = [part_ref(task, part) for part in _PARTS]
    if has_result(task):
        refs += [stream_ref(task, stream) for stream in Stream]
    return refs


def view_brief(brief: TaskBrief) -> dict[str, Json]:
    return {
        "add_time": kv2_time(brief.submitted_at),
        "done": brief.done,
        "executor": None if brief.done or brief.state is TaskState.QUEUED else brief.executor,
        "id": brief.id,
        "report_time": kv2_time(brief.updated_at),
        "status": int(kv2_status(brief.state, brief.stage, again=brief.again)),
        "user": brief.user,
    }


def view_task(
    task: Task, heads: Mapping[Part | Stream, bytes], *, truncate: bool
) -> dict[str, Json]:
    """`heads` holds the beginning of every text of `refs_shown`."""
    sizes = {ref.name: ref.size_bytes for ref in refs_shown(task)}

    def show(name: Part | Stream) -> str:
        text = heads[name].decode("utf-8", "replace")
        if truncate:
            return cut(text)
        return text + "..." if sizes[name] > FULL_TEXT_BYTES else text

    body = view_brief(brief_of(task))
    body["compile"] = {
        "command": show(Part.COMPILE_COMMAND),
        "source": Part.COMPILE_SOURCE in task.spec.parts,
        "timeout": task.spec.compile_timeout_s,
    }
    body["execute"] = {
        "command": show(Part.EXECUTE_COMMAND),
        "data": Part.EXECUTE_DATA in task.spec.parts,
        "input": show(Part.EXECUTE_INPUT),
        "standard": show(Part.EXECUTE_STANDARD),
        "timeout": task.spec.execute_timeout_s,
    }
    body["result"] = None
    if task.outcome is not None and has_result(task):
        texts = {str(stream): show(stream) for stream in Stream}
        _speak_kv2(task.outcome, texts)
        body["result"] = dict(texts)
    return body


def cut(text: str) -> str:
    return text if len(text) <= KV2_TEXT_CHARS else text[:KV2_TEXT_CHARS] + "..."


def _speak_kv2(outcome: Outcome, texts: dict[str, str]) -> None:
    """Put KV2's sentences where its clients look for them."""
    for stage, (stdout, stderr) in _STREAMS.items():
        ended = outcome.compile if stage is Stage.COMPILE else outcome.execute
        if ended is None:
            continue
        if ended.reason in {Reason.WALL_TIME, Reason.CPU_TIME}:
            texts[stderr] = _TIME_OUT[stage]
        elif ended.reason is Reason.OUTPUT_LIMIT:
            texts[stdout] = ""
            texts[stderr] = _OUTPUT_LIMIT[stage]
    if outcome.ending is Ending.ERROR:
        stage = outcome.stage or Stage.COMPILE
        texts[
            _STREAMS[stage][1] if outcome.reason is not Reason.BAD_INPUT else Stream.COMPILE_ERROR
        ] = explain(outcome)


def explain(outcome: Outcome) -> str:
    """One sentence on why the task ended as it did."""
    if outcome.cancellation is not None:
        return outcome.cancellation.sentence
    decisive: StageOutcome | None = None
    if outcome.stage is not None:
        decisive = outcome.compile if outcome.stage is Stage.COMPILE else outcome.execute
    note = outcome.note or (decisive.note if decisive else None)
    return note or f"The task ended with: {str(outcome.reason).replace('_', ' ')}."
