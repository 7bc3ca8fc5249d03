"""What is said of a task or a job that is not there: also that it may have been."""

from __future__ import annotations

from datetime import timedelta

from khala.model.dates import utc_now
from khala.model.errors import NotFound
from khala.model.ids import JobId, TaskId, id_date
from khala.model.limits import RETENTION_MIN_S
from khala.model.retention import KEPT_S, Retention


def missing(what: str, known: TaskId | JobId, keep: Retention) -> NotFound:
    """An id says when it was minted: only one that is old enough may have been removed."""
    text = f"{what} {known} does not exist"
    age = utc_now() - id_date(TaskId(known))
    if keep.on and age > timedelta(seconds=KEPT_S):
        text += f", or it ended and was removed: what is kept of ended tasks here is {keep}"
    elif age > timedelta(seconds=RETENTION_MIN_S):
        text += ", or it ended and was removed, as its own retention or a person said"
    return NotFound(text)
