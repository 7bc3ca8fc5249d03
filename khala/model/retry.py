"""Which results of a task are not its last word, and when it is tried again.

A try that was lost with its executor or its sandbox never had a result and is repeated anyway (see
`CRASH_LIMIT`). This is about results: whoever submits a task may say that some of them are worth
another try.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from msgspec import Struct

from khala.model.ids import TaskId
from khala.model.limits import RETRY_BACKOFF_MAX_S, RETRY_BACKOFF_S, RETRY_SPREAD


class RetryReason(StrEnum):
    """Those of `khala.model.outcome.Reason` that another try might not meet again."""

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


class Retry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a task says of its own failures."""

    #: Results there may be, the last one included.
    max_attempts: int
    #: Reasons of results that are not the last; empty: all that there are.
    on: tuple[RetryReason, ...] = ()
    #: Before the second try; twice as long before each further one, up to the maximum.
    backoff_s: float = RETRY_BACKOFF_S
    backoff_max_s: float = RETRY_BACKOFF_MAX_S

    def covers(self, reason: str) -> bool:
        return reason in (self.on or frozenset(RetryReason))

    def pause_s(self, task: TaskId, results: int) -> float:
        """Before the try that follows so many results. Up to a part longer than was asked for, by
        the task's id: a thousand tasks that failed together do not come back together."""
        doubled = self.backoff_s * 2.0 ** (results - 1)
        digest = hashlib.sha256(f"{task} {results}".encode()).digest()
        share = int.from_bytes(digest[:4], "big") / 2**32
        return min(doubled, self.backoff_max_s) * (1 + RETRY_SPREAD * share)
