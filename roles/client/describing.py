"""A task in words: one sentence, the lines of `run`, a page of facts, and why it waits."""

from __future__ import annotations

from collections.abc import Iterator

from khala.client import Result, Task
from khala.model.cases import Verdict
from khala.model.outcome import Reason
from khala.protocol.v2 import Explanation
from roles.client import tables, verdicts

#: Digits of an id that are enough for a person, and for a command.
SHORT = 8


def sentence_of(task: Task) -> str:
    """Where it stands, or how it ended and why."""
    if not task.done:
        where = f" on {task.executor}" if task.executor else ""
        why = f": {tables.plain(task.pending.detail)}" if task.pending else ""
        return f"{task.id} {task.state}{where} for {tables.age(task.updated_at)}{why}"
    return f"{task.id} {_end_of(task)}"


def _end_of(task: Task) -> str:
    """`failed (memory): killed for ...`, `cancelled by ann: wrong input`."""
    if task.cancellation is not None:
        return tables.plain(task.cancellation.sentence)
    reason = f" ({task.reason})" if task.reason and task.reason is not Reason.OK else ""
    message = f": {tables.plain(task.message)}" if task.message else ""
    return f"{task.state}{reason}{message}"


def described(task: Task) -> list[str]:
    lines = [
        f"Task      {task.id}",
        f"State     {sentence_of(task).removeprefix(task.id).strip()}",
        f"User      {task.user}",
        f"Created   {task.created_at:%Y-%m-%d %H:%M:%S} UTC ({tables.age(task.created_at)} ago)",
        f"Attempt   {task.attempt}" + (f", {task.crashes} lost" if task.crashes else ""),
    ]
    if task.labels:
        named = ", ".join(f"{key}={value}" for key, value in task.labels.items())
        lines.append(f"Labels    {tables.plain(named)}")
    if task.priority:
        lines.append(f"Priority  {task.priority}")
    if task.executor:
        lines.append(f"Executor  {task.executor}")
    if task.verdict is not None:
        lines.append(f"Verdict   {verdicts.sentence_of(task).removeprefix('verdict ')}")
    for name, stage in (("Compile", task.stages.compile), ("Execute", task.stages.execute)):
        if stage.result is not None:
            lines.append(f"{name}   {_measured(stage.result)}")
    if task.done:
        lines.append(f"Ended     {_ended(task)}")
    return lines


def _ended(task: Task) -> str:
    """`failed · memory: killed for ... (cgroup_v1), in execute, case 7 "huge"`."""
    if task.cancellation is not None:
        return _end_of(task)
    reason = f" · {task.reason}" if task.reason and task.reason is not Reason.OK else ""
    message = f": {tables.plain(task.message)}" if task.message else ""
    where = f" ({task.enforcement.mode})" if task.enforcement and reason else ""
    parts = [f"{task.state}{reason}{message}{where}"]
    if reason and task.last_stage is not None:
        ran = "compile" if task.last_stage is task.stages.compile else "execute"
        parts.append(f"in {ran}")
    failed = next((case for case in task.cases if case.reason not in (None, Reason.OK)), None)
    if failed is not None:
        parts.append(f'case {failed.number} "{tables.plain(failed.name)}"')
    return ", ".join(parts)


def summary_of(task: Task) -> Iterator[str]:
    """What a judged task came to, line by line, as `run` says it at the end."""
    short = task.id[:SHORT]
    where = f" → {task.executor}" if task.executor else ""
    waited = ""
    if task.started_at is not None:
        waited_s = (task.started_at - task.created_at).total_seconds()
        waited = f" ({max(0.0, waited_s):.1f} s)"
    yield f"{short}  queued{where}{waited}"
    compiled = task.stages.compile.result
    if compiled is not None:
        ended = "ok" if compiled.reason is Reason.OK else str(compiled.reason)
        cache = f"  (cache {compiled.cache})" if compiled.cache in ("hit", "miss") else ""
        yield f"compile   {ended}  {tables.duration(compiled.wall_ms)}{cache}"
    ran = task.stages.execute.result
    if ran is not None:
        memory = tables.size(ran.memory_peak_bytes)
        yield f"run       {_ending(ran)}  {tables.duration(ran.wall_ms)}  {memory}"
    hint = "" if task.verdict in (Verdict.AC, Verdict.CE) else f"  khala diff {short}"
    yield f"verdict   {verdicts.sentence_of(task).removeprefix('verdict ')}{hint}"


def why_waiting(seen: Explanation) -> Iterator[str]:
    """Executors by what they lack, its place in line, and what would help."""
    for block in seen.blocking:
        if not block.count:
            continue  # the task itself, which the sentence on it says
        count = "1 node" if block.count == 1 else f"{block.count} nodes"
        names = tables.plain(", ".join(block.nodes))
        more = ", ..." if block.count > len(block.nodes) else ""
        yield f"  {count:8}  {block.code}: {tables.plain(block.detail)} ({names}{more})"
    if seen.position is not None:
        beyond = "" if seen.position_is_exact else "more than "
        yield f"  place {beyond}{seen.position} in the queue"
    if turn := seen.estimated_start:
        likely, late = (tables.duration(round(each * 1000)) for each in (turn.p50_s, turn.p90_s))
        yield f"  starts in about {likely}, nine times out of ten within {late}"
    if seen.would_run_if:
        yield f"  would run if {tables.plain(' or '.join(seen.would_run_if))}"


def _measured(result: Result) -> str:
    end = _ending(result)
    cpu_ms = result.cpu_user_ms + result.cpu_system_ms
    parts = [
        end,
        f"wall {tables.duration(result.wall_ms)}",
        f"cpu {tables.duration(cpu_ms)}",
        f"memory {tables.size(result.memory_peak_bytes)}",
    ]
    if result.cache == "hit":
        parts.append("from the compile cache")
    return ", ".join(parts)


def _ending(result: Result) -> str:
    if result.signal is not None:
        return f"signal {result.signal}"
    return f"exit {result.exit_code}" if result.exit_code is not None else str(result.reason)
