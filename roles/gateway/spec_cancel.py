"""What a cancellation says of itself: why, by whom, and how long what runs has to end.

The reason is the caller's own words. Who it was is the name of the user whose token was shown; an
operator may give another one, for the people who asked for it. Where the cluster has no users, it
is taken on trust: it tells colleagues whom to ask, and proves nothing.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct

from khala.config.values import Kind
from khala.model.access import Role
from khala.model.errors import Forbidden
from khala.model.limits import CANCEL_BY_CHARS, CANCEL_GRACE_MAX_S, CANCEL_REASON_CHARS
from khala.model.outcome import Cancellation
from khala.protocol.v2 import IssueCode
from roles.gateway.bounds import within
from roles.gateway.callers import Caller
from roles.gateway.documents import parse_document
from roles.gateway.issues import Issues
from roles.gateway.spec_limits import read_amount

#: Seconds, or a text such as "10s".
Grace: TypeAlias = (
    Annotated[int, within(0, CANCEL_GRACE_MAX_S)]
    | Annotated[float, within(0, CANCEL_GRACE_MAX_S)]
    | str
)


class CancelSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For whoever wonders; shown with the task or the job."""

    #: Why, in a line.
    reason: Annotated[str, Meta(max_length=CANCEL_REASON_CHARS)] = ""
    #: Who cancels; empty: the user whose token is shown. Others only by operators.
    by: Annotated[str, Meta(max_length=CANCEL_BY_CHARS)] = ""
    #: So long what runs may go on after SIGTERM; none: it is killed at once.
    grace_s: Grace | None = None


_decoder = msgspec.json.Decoder(CancelSpec)


def cancellation_in(body: bytes, caller: Caller) -> Cancellation | None:
    """Of an optional body; raise as `parse_document`, and `Forbidden`."""
    return cancellation_of(parse_document(_decoder, body) if body else CancelSpec(), caller)


def cancellation_of(given: CancelSpec, caller: Caller) -> Cancellation | None:
    """None if nothing is said, by nobody who has a name. Raise `Invalid`, `Forbidden`."""
    issues = Issues()
    for field, text in (("reason", given.reason), ("by", given.by)):
        if not text.isprintable():
            detail = "it is one line, without control characters"
            issues.add(f"/{field}", IssueCode.INVALID_VALUE, detail, given=text)
    grace_s = None
    if given.grace_s is not None:
        bounds = (0.0, CANCEL_GRACE_MAX_S)
        grace_s = read_amount(Kind.SECONDS, given.grace_s, bounds, "/grace_s", issues)
    issues.raise_if_any()
    by = given.by.strip() or caller.name or ""
    if by != (caller.name or by) and not caller.rules:
        raise Forbidden(
            f"by: {by!r} is another name than {caller.name}'s; leave it out, or ask somebody with"
            f" the role {Role.OPERATOR}",
            field="/by",
        )
    said = Cancellation(by=by, reason=given.reason.strip(), grace_s=grace_s or UNSET)
    return said if said != Cancellation() else None
