"""What happened, for whoever counts: the reactor says it once and knows nothing of numbers.

Unlike `khala.core.news`, which tells of every change, these are the ends of attempts alone, with
all that is known of them. They are told by the process that saw them; a fact that was learned
from the store (another process recorded it) is not told again.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from khala.model.outcome import Outcome
from khala.model.statements import Candidate


class AttemptRecorded(Struct, frozen=True, kw_only=True):
    """The result of an attempt is the task's."""

    task: Candidate
    outcome: Outcome
    #: When it was leased; None where another process did that.
    started_at: datetime | None
    recorded_at: datetime


class AttemptRetried(Struct, frozen=True, kw_only=True):
    """The result of an attempt is not the task's: it is tried again."""

    outcome: Outcome


class AttemptReturned(Struct, frozen=True, kw_only=True):
    """An attempt ended without a result: its task is queued again, or was lost too often."""

    #: Its executor, or its sandbox, was lost; else it was given back.
    crash: bool
    #: Given back because an operator wants its executor empty.
    drained: bool = False


Fact: TypeAlias = AttemptRecorded | AttemptRetried | AttemptReturned
