"""What a cancellation says of itself: why, and by whom.

Both are the caller's own words. A gateway knows one token and no names, so who it was is taken on
trust, as the user of a submission is: it tells colleagues whom to ask, and proves nothing.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from khala.model.limits import CANCEL_BY_CHARS, CANCEL_REASON_CHARS
from khala.model.outcome import Cancellation
from khala.protocol.v2 import IssueCode
from roles.gateway.documents import parse_document
from roles.gateway.issues import Issues


class CancelSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For whoever wonders; shown with the task or the job."""

    #: Why, in a line.
    reason: Annotated[str, Meta(max_length=CANCEL_REASON_CHARS)] = ""
    #: Who cancels, in their own words.
    by: Annotated[str, Meta(max_length=CANCEL_BY_CHARS)] = ""


_decoder = msgspec.json.Decoder(CancelSpec)


def cancellation_in(body: bytes) -> Cancellation | None:
    """Of an optional body; raise as `parse_document`."""
    return cancellation_of(parse_document(_decoder, body)) if body else None


def cancellation_of(given: CancelSpec) -> Cancellation | None:
    """None if nothing is said. Raise `Invalid`."""
    issues = Issues()
    for field, text in (("reason", given.reason), ("by", given.by)):
        if not text.isprintable():
            detail = "it is one line, without control characters"
            issues.add(f"/{field}", IssueCode.INVALID_VALUE, detail, given=text)
    issues.raise_if_any()
    said = Cancellation(by=given.by.strip(), reason=given.reason.strip())
    return said if said != Cancellation() else None
