"""KV2's status codes as a projection of the public state.

KV2's clients switch on these nine numbers. They are computed, never stored: a stored copy would
be a second truth about a task.
"""

from __future__ import annotations

from enum import IntEnum

from khala.model.spec import Stage
from khala.model.task import TaskState


class Kv2Status(IntEnum):
    PENDING = 0
    COMPILING = 1
    COMPILE_FAILED = 2
    RUNNING = 3
    RUN_FAILED = 4
    SUCCESS = 5
    RETRYING = 6
    CANCELLED = 7
    UNKNOWN_ERROR = 8


_FIXED = {
    TaskState.COMPILING: Kv2Status.COMPILING,
    TaskState.RUNNING: Kv2Status.RUNNING,
    TaskState.SUCCEEDED: Kv2Status.SUCCESS,
    TaskState.CANCELLED: Kv2Status.CANCELLED,
    TaskState.ERROR: Kv2Status.UNKNOWN_ERROR,
}


def kv2_status(state: TaskState, stage: Stage | None, *, again: bool) -> Kv2Status:
    """`again` is that of its brief: what an executor had no slot for after all is no retry."""
    if state is TaskState.FAILED:
        compile_failed = stage is Stage.COMPILE
        return Kv2Status.COMPILE_FAILED if compile_failed else Kv2Status.RUN_FAILED
    if state in (TaskState.QUEUED, TaskState.STARTING):
        return Kv2Status.RETRYING if again else Kv2Status.PENDING
    return _FIXED[state]
