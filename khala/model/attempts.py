"""Attempts that are over and were not a task's last: what people ask about when it took several."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from khala.model.ids import AttemptNo, ExecutorName
from khala.model.outcome import Outcome


class AttemptEnd(StrEnum):
    """How it came that a task went on after it."""

    #: Its executor, or its sandbox, was lost with it: a crash.
    EXECUTOR_LOST = "executor_lost"
    #: Its executor gave it back: no slot became free for it, a stop, trouble of the host.
    RETURNED = "returned"
    #: Its executor is to be empty, and what ran there was put back.
    DRAINED = "drained"
    #: It brought a result, and the task is tried again (see `khala.model.retry`).
    RETRIED = "retried"


class PastAttempt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    attempt: AttemptNo
    end: AttemptEnd
    executor: ExecutorName | None = None
    started_at: datetime | None = None
    ended_at: datetime
    #: Its result, without artifacts and cases; its outputs are stored in chunks.
    outcome: Outcome | None = None
