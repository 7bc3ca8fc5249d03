"""Which status of HTTP each error of ours has.

Both APIs and the RPC say the same, so that a proxy or a program that knows nothing of Khala reacts
as it should: repeats, corrects, or gives up.
"""

from __future__ import annotations

from khala.model.errors import (
    AlreadyDone,
    AlreadyThere,
    Changed,
    Conflict,
    CountDiffers,
    Forbidden,
    KhalaError,
    LastAdmin,
    NoNetworkOffered,
    NoSuchBlob,
    NoSuchImage,
    NoSuchTask,
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

#: First match wins, so subclasses come before their family.
_STATUSES: tuple[tuple[type[KhalaError], int], ...] = (
    (NotFound, 404),
    (TooLarge, 413),
    (NoSuchImage, 422),
    (NoNetworkOffered, 422),
    (NoSuchBlob, 422),
    (NoSuchTask, 422),
    (Forbidden, 403),
    (AlreadyDone, 409),
    (LastAdmin, 409),
    (AlreadyThere, 409),
    (Conflict, 409),
    (NotDone, 409),
    (CountDiffers, 409),
    (NotWaiting, 409),
    (NotPossible, 409),
    (Changed, 412),
    (OffsetDiffers, 409),
    (QuotaExceeded, 429),
    (Rejected, 400),
    (RateLimited, 429),
    (Unavailable, 503),
    (OutcomeUnknown, 504),
)


def status_of(error: KhalaError) -> int:
    """One without a family is a defect: 500."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
