"""Who is next among tasks that wait: a place in the line, fixed when a task is accepted.

A point of priority is worth some seconds of waiting. So a place never has to be computed again, an
index holds the whole order, and nobody starves: whatever is submitted later than a task's priority
reaches back is behind it, however urgent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

from khala.model.ids import TaskId

PRIORITY_MAX = 100
#: A task goes before one of a priority less that was submitted no more than this before it.
AGEING_S = 60.0

#: Smaller is sooner. Ids of one process grow, also within a millisecond.
Place: TypeAlias = tuple[datetime, datetime, TaskId]


def rank_of(submitted_at: datetime, priority: int) -> datetime:
    """When a task of priority 0 would have been submitted that is its equal."""
    return submitted_at - timedelta(seconds=priority * AGEING_S) if priority else submitted_at
