"""From an answer that is no success to the error that says what may be done next."""

from __future__ import annotations

import msgspec

from khala.model.errors import (
    AlreadyDone,
    AlreadyThere,
    Changed,
    Conflict,
    CountDiffers,
    KhalaError,
    LastAdmin,
    NotDone,
    NotFound,
    NotPossible,
    NotWaiting,
    OffsetDiffers,
    OutcomeUnknown,
    QuotaExceeded,
    RateLimited,
    Rejected,
    TooLarge,
    Unavailable,
)
from khala.protocol.v2 import Problem


class Denied(Rejected):
    """The gateway does not take requests of this token, or without one."""


_BY_CODE: dict[str, type[KhalaError]] = {
    "unauthenticated": Denied,
    "forbidden": Denied,
    "misdirected_request": Denied,
    "not_found": NotFound,
    "already_done": AlreadyDone,
    "last_admin": LastAdmin,
    "already_there": AlreadyThere,
    "not_done": NotDone,
    "count_differs": CountDiffers,
    "not_waiting": NotWaiting,
    "not_possible": NotPossible,
    "precondition_failed": Changed,
    "offset_differs": OffsetDiffers,
    "quota_exceeded": QuotaExceeded,
    "rate_limited": RateLimited,
    "conflict": Conflict,
    "idempotency_mismatch": Conflict,
    "too_large": TooLarge,
    "unavailable": Unavailable,
    "outcome_unknown": OutcomeUnknown,
}
_decode = msgspec.json.Decoder(Problem).decode


def failure_of(status: int, body: bytes, url: str, retry_after: str = "") -> KhalaError:
    """The error of a problem document, or of whatever else answered with that status; with its
    header `Retry-After`."""
    wait_s = max(1, int(retry_after)) if retry_after.isdecimal() else 1
    try:
        problem = _decode(body)
    except msgspec.MsgspecError:
        if status == 429:  # of KV2's addresses, or of a proxy
            return RateLimited(f"{url} answered with status {status}", retry_after_s=wait_s)
        if status == 404 and not body:  # to a HEAD
            return NotFound(f"there is no such thing at {url}")
        if status >= 500:
            return Unavailable(f"{url} answered with status {status}")
        return Rejected(f"{url} answered with status {status}, and not as a gateway of Khala does")
    message = "\n".join(_sentences(problem))
    kind = _BY_CODE.get(problem.code)
    if kind is None:
        kind = KhalaError if status >= 500 else Rejected
    if issubclass(kind, Rejected):
        return kind(message, field=problem.field)
    if kind is RateLimited:
        return RateLimited(message, retry_after_s=wait_s)
    return kind(message)


def _sentences(problem: Problem) -> list[str]:
    """All faults where there are several; the detail alone repeats the first."""
    if len(problem.errors) < 2:
        return [problem.detail]
    return [f"{fault.pointer}: {fault.detail}" for fault in problem.errors]
