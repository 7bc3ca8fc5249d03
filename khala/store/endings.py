"""The update that ends a task, whichever statement does it."""

from __future__ import annotations

from datetime import datetime

from bson import Int64

from khala.model.ids import AttemptNo
from khala.model.outcome import Outcome
from khala.model.task import Dispatch
from khala.store.codec import Document, outcome_doc
from khala.store.dates import to_ms, utc_now


def ending(
    outcome: Outcome, result_attempt: AttemptNo | None, at: datetime | None = None
) -> Document:
    """`result_attempt` is None if no attempt brought the outcome."""
    now = at or to_ms(utc_now())
    fields: Document = {
        "state": Dispatch.DONE.value,
        "outcome": outcome_doc(outcome),
        "updated_at": now,
        "done_at": now,
    }
    if result_attempt is not None:
        fields["result_attempt"] = Int64(result_attempt)
    return {"$set": fields, "$unset": {"lease": "", "progress": "", "hold": ""}}
