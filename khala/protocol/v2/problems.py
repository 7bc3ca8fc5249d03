"""Refusals and failures: problem documents (RFC 9457), and the faults of a document one by one."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

#: What a field held, or may hold: a number or a text.
Scalar: TypeAlias = str | int | float | bool | None


class IssueCode(StrEnum):
    """What is wrong with one field; a closed list."""

    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    INVALID_VALUE = "invalid_value"
    BELOW_MINIMUM = "below_minimum"
    ABOVE_MAXIMUM = "above_maximum"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"
    DUPLICATE = "duplicate"
    UNUSED_PART = "unused_part"
    NO_SUCH_BLOB = "no_such_blob"


class Issue(Struct, frozen=True, kw_only=True):
    """One fault; `limit` and `given` have the field's unit: seconds, bytes, or a count."""

    #: RFC 6901; empty for the whole document.
    pointer: str
    code: IssueCode
    #: A sentence that names the value, the limit and the next step.
    detail: str
    limit: Scalar = None
    given: Scalar = None


class ProblemCode(StrEnum):
    """What went wrong with a request. `PROBLEMS` says what each means."""

    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISDIRECTED_REQUEST = "misdirected_request"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    ALREADY_DONE = "already_done"
    LAST_ADMIN = "last_admin"
    ALREADY_THERE = "already_there"
    NOT_DONE = "not_done"
    COUNT_DIFFERS = "count_differs"
    NOT_WAITING = "not_waiting"
    NOT_POSSIBLE = "not_possible"
    PRECONDITION_FAILED = "precondition_failed"
    OFFSET_DIFFERS = "offset_differs"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    VALIDATION_FAILED = "validation_failed"
    NO_SUCH_IMAGE = "no_such_image"
    NO_NETWORK_OFFERED = "no_network_offered"
    NO_SUCH_BLOB = "no_such_blob"
    NO_SUCH_TASK = "no_such_task"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    QUOTA_EXCEEDED = "quota_exceeded"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"


class Meaning(Struct, frozen=True):
    """Of a code: its status, what has happened, and what to do next."""

    status: int
    happened: str
    next_step: str


PROBLEMS: dict[ProblemCode, Meaning] = {
    ProblemCode.INVALID_REQUEST: Meaning(
        400,
        "A parameter, a header or the body is not as it must be; `field` names it.",
        "Correct it. The same request will be refused again.",
    ),
    ProblemCode.UNAUTHENTICATED: Meaning(
        401,
        "The gateway needs a token, and this request has none, or one that is unknown, expired or"
        " revoked; or a ticket that was used already.",
        "Send `Authorization: Bearer TOKEN`; an administrator, or the gateway's operator, has one.",
    ),
    ProblemCode.FORBIDDEN: Meaning(
        403,
        "Who asks may not do this: it needs a higher role, or it is somebody else's. Or a browser"
        " sent a change from a page of another origin.",
        "The sentence says which role it needs; `/api/v2/me` says which one there is.",
    ),
    ProblemCode.NOT_FOUND: Meaning(
        404,
        "There is no such object: it never existed, or it was forgotten.",
        "Look at the list.",
    ),
    ProblemCode.METHOD_NOT_ALLOWED: Meaning(
        405, "The address exists, but not with this method.", "`Allow` names those it has."
    ),
    ProblemCode.ALREADY_DONE: Meaning(
        409,
        "The task has ended, which never changes.",
        "Read it; `rerun` makes a new one of the same document.",
    ),
    ProblemCode.LAST_ADMIN: Meaning(
        409,
        "Nobody would be left who may make users and tokens. Nothing was changed.",
        "Make another user an administrator first.",
    ),
    ProblemCode.ALREADY_THERE: Meaning(
        409,
        "There is one of this name, or of this number, already. Nothing was changed.",
        "Take another one, or change the one that is there.",
    ),
    ProblemCode.NOT_DONE: Meaning(
        409,
        "The task has not ended.",
        "Wait for its end, or cancel it first.",
    ),
    ProblemCode.COUNT_DIFFERS: Meaning(
        409,
        "The filter matches more or fewer tasks than the request expects. Nothing was done.",
        "Look at the list again, and repeat it with the number that is there now.",
    ),
    ProblemCode.NOT_WAITING: Meaning(
        409,
        "The task does not wait: it runs, has ended, or is a part of a job that is not made yet."
        " Nothing was changed.",
        "Name and labels can be changed at any time; for the rest, submit it again.",
    ),
    ProblemCode.NOT_POSSIBLE: Meaning(
        409,
        "What the cluster is, or is doing just now, does not allow it. Nothing was done.",
        "The sentence says what is in the way.",
    ),
    ProblemCode.PRECONDITION_FAILED: Meaning(
        412,
        "The task has changed since the answer whose `ETag` is in `If-Match`. Nothing was done.",
        "Read it again, and decide anew.",
    ),
    ProblemCode.OFFSET_DIFFERS: Meaning(
        409,
        "Not as many bytes of the upload are stored as the request says. Nothing was done.",
        "Go on at the `Upload-Offset` of this answer.",
    ),
    ProblemCode.TOO_LARGE: Meaning(
        413,
        "The body, or the header, is larger than its limit.",
        "Send less, or let the operator raise `--max-body`.",
    ),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: Meaning(
        415,
        "The body is of a type that is not read here.",
        "Send `Content-Type: application/json`, or a form where files come along.",
    ),
    ProblemCode.MISDIRECTED_REQUEST: Meaning(
        421,
        "An open gateway answers to its own names only, and `Host` is another one.",
        "Use one of its names, or let the operator add this one with `--host-names`.",
    ),
    ProblemCode.VALIDATION_FAILED: Meaning(
        422,
        "Fields of the document are not as they must be; `errors` has all of them.",
        "Correct them: each names its pointer, its limit and the value given.",
    ),
    ProblemCode.NO_SUCH_IMAGE: Meaning(
        422,
        "No executor that the cluster knows has ever had this image.",
        "Look at `/api/v2/images`.",
    ),
    ProblemCode.NO_NETWORK_OFFERED: Meaning(
        422,
        "No executor that the cluster knows lets tasks have this network.",
        "Look at `networks` of `/api/v2/nodes`; an operator offers more with `--allow-network`.",
    ),
    ProblemCode.NO_SUCH_BLOB: Meaning(
        422,
        "The document names a blob that is not stored here.",
        "Send it with `PUT /api/v2/blobs/{sha256}`, then repeat the request.",
    ),
    ProblemCode.NO_SUCH_TASK: Meaning(
        422,
        "The document depends on a task that does not exist, or does not exist any more.",
        "Leave it out of `depends_on`; what has been removed has ended.",
    ),
    ProblemCode.IDEMPOTENCY_MISMATCH: Meaning(
        422,
        "The `Idempotency-Key` was used before, for another document.",
        "Use a new key for a new task.",
    ),
    ProblemCode.QUOTA_EXCEEDED: Meaning(
        429,
        "The user has as many tasks waiting, or as many bytes stored, as its quota allows.",
        "Repeat it later, or cancel or remove some; `/api/v2/quota` shows limits and use.",
    ),
    ProblemCode.RATE_LIMITED: Meaning(
        429,
        "Who asks sends more requests to this gateway than one caller may. Nothing has happened.",
        "Repeat it after `Retry-After` seconds; `RateLimit` of each answer says how many there is"
        " room for.",
    ),
    ProblemCode.INTERNAL: Meaning(
        500,
        "A defect of Khala.",
        "Report it; the gateway's log has the details under the request's id.",
    ),
    ProblemCode.UNAVAILABLE: Meaning(
        503,
        "The cluster, or this gateway, cannot do it now. Nothing has happened.",
        "Repeat it after `Retry-After` seconds.",
    ),
    ProblemCode.OUTCOME_UNKNOWN: Meaning(
        504,
        "It may or may not have happened: an answer was lost.",
        "Read first. What carried an `Idempotency-Key` may simply be repeated.",
    ),
}


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """application/problem+json (RFC 9457)."""

    title: str
    status: int
    #: A word for programs. A client meets words that it does not know: the status is its family.
    code: str
    #: A sentence for people.
    detail: str
    #: The parameter or header to blame, if it is one.
    field: str | None = None
    #: What is wrong with a document, field by field.
    errors: list[Issue] = []
    #: Where the code is described.
    type: str = ""
    #: The path that was asked.
    instance: str = ""
    #: As in `X-Request-Id`, and in the gateway's log.
    request_id: str = ""
    #: As in `Retry-After`: when it is worth repeating.
    retry_after_s: int | None = None
