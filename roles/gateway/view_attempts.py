"""The attempts of a task as `khala.protocol.v2` shows them.

The task remembers those that it went on after; its last one follows from the rest of its document.
What was believed to be lost may have brought its result after all: then the result is shown.
"""

from __future__ import annotations

from msgspec.structs import replace

from khala.model.attempts import AttemptEnd, PastAttempt
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome
from khala.model.task import Dispatch, Task
from khala.protocol import v2
from roles.gateway.kv2_view import explain


def view_attempts(task: Task) -> v2.Attempts:
    last = _last(task)
    shown = [_view_past(each) for each in task.past if last is None or each.attempt != last.attempt]
    if last is not None:
        shown.append(last)
    return v2.Attempts(attempts=shown, forgotten=task.attempt - len(shown))


def _last(task: Task) -> v2.Attempt | None:
    """The one that runs, or that the task ended with; None if it waits for another."""
    if task.dispatch is Dispatch.LEASED:
        return _view(task, "running", None)
    if task.dispatch is not Dispatch.DONE or not task.attempt:
        return None
    if task.result_attempt == task.attempt:
        return _view(task, "recorded", task.outcome)
    if task.past and task.past[-1].attempt == task.attempt:
        return None  # it was over before the task was
    reason = task.outcome.reason if task.outcome else None
    lost = reason is Reason.EXECUTOR_LOST_REPEATEDLY
    return _view(task, AttemptEnd.EXECUTOR_LOST if lost else "cancelled", None)


def _view(task: Task, end: str, outcome: Outcome | None) -> v2.Attempt:
    shown = v2.Attempt(
        attempt=task.attempt,
        end=end,
        executor=task.executor,
        started_at=v2.stamp(task.started_at) if task.started_at else None,
        ended_at=v2.stamp(task.done_at) if task.done_at else None,
    )
    return _with_result(shown, outcome)


def _view_past(past: PastAttempt) -> v2.Attempt:
    shown = v2.Attempt(
        attempt=past.attempt,
        end=past.end,
        executor=past.executor,
        started_at=v2.stamp(past.started_at) if past.started_at else None,
        ended_at=v2.stamp(past.ended_at),
    )
    return _with_result(shown, past.outcome)


def _with_result(shown: v2.Attempt, outcome: Outcome | None) -> v2.Attempt:
    if outcome is None:
        return shown
    stages = [each for each in (outcome.compile, outcome.execute) if each is not None]
    decisive = stages[-1] if stages else None
    return replace(
        shown,
        executor=shown.executor or outcome.executor,
        reason=outcome.reason,
        message=None if outcome.ending is Ending.SUCCEEDED else explain(outcome),
        exit_code=decisive.exit_code if decisive else None,
        signal=decisive.signal if decisive else None,
        usage=_usage(stages) if stages else None,
    )


def _usage(stages: list[StageOutcome]) -> v2.Usage:
    return v2.Usage(
        wall_ms=sum(each.wall_ms for each in stages),
        cpu_ms=sum(each.cpu_user_ms + each.cpu_system_ms for each in stages),
        memory_peak_bytes=max(each.memory_peak_bytes for each in stages),
    )
