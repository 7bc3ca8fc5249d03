"""When a task that has ended is removed, and by whose word, in a sentence.

Two may have a say: whoever submitted it, and the operator. What the operator says may have changed
since, so it is read with the rest of what the judicators say of their cluster now.
"""

from __future__ import annotations

from datetime import timedelta

from khala.model.retention import Retention, removal_date
from khala.model.task import Task

_DATE = "%Y-%m-%d %H:%M:%S UTC"


def why_removed(task: Task, keep: Retention) -> str | None:
    """None if it has not ended, or nobody said anything."""
    if task.done_at is None or (task.spec.retention_s is None and not keep.on):
        return None
    if task.spec.member is not None:
        return "It is removed together with the rest of its job."
    own = removal_date(task)
    aged = None if keep.age_s is None else task.done_at + timedelta(seconds=keep.age_s)
    if own is not None and (aged is None or own <= aged):
        kept = timedelta(seconds=task.spec.retention_s or 0)
        why = "its own retention"
        if own > task.done_at + kept:
            why += ", and the hour for which its idempotency key stands for it"
        sentence = f"It is removed after {own:{_DATE}}: {why}."
    elif aged is not None:
        sentence = f"It is removed after {aged:{_DATE}}, as this cluster keeps {_by_age(keep)}."
    else:
        sentence = "It has no retention of its own."
    if keep.count is not None or keep.size_bytes is not None:
        sentence += f" It may be sooner: of ended tasks, {keep} is kept here."
    return sentence


def _by_age(keep: Retention) -> Retention:
    return Retention(age_s=keep.age_s)
