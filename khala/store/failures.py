"""What a failed database call means: it did not happen, or nobody knows.

The difference decides whether a caller may answer "try again" or must look first, so a failure
counts as `Unavailable` only where the driver or the server says that nothing was sent or done:
no primary could be chosen, no connection was free, the node refused because it is not the primary.
A broken connection, a time-out, a step-down in the middle and a write concern that was not
reached all leave the write possibly done: `OutcomeUnknown`. Reads are always `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo.errors import (
    DocumentTooLarge,
    DuplicateKeyError,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from khala.model.errors import (
    InvariantBroken,
    KhalaError,
    OutcomeUnknown,
    Rejected,
    TooLarge,
    Unavailable,
)

DUPLICATE_KEY = 11000
#: A validator of `khala.store.schema` refused the document: a fault of ours.
VALIDATION_FAILED = 121
#: The node said so before doing anything; other step-down codes may interrupt a write.
_NOT_PRIMARY = frozenset({10107, 13435, 13436, 10058})
#: The driver cannot encode what it was given (an integer of more than 64 bits, half a character).
_UNSTORABLE = (BSONError, OverflowError, UnicodeEncodeError)
AUTHENTICATION_CODES = frozenset({13, 18})


@contextmanager
def reading() -> Iterator[None]:
    """Around database calls that change nothing."""
    try:
        yield
    except PyMongoError as error:
        raise Unavailable(f"MongoDB cannot be read now: {_short(error)}") from error


@contextmanager
def settling() -> Iterator[None]:
    """Around the read that tells what a change has done: without it, nobody knows."""
    try:
        yield
    except PyMongoError as error:
        raise OutcomeUnknown(f"MongoDB may or may not have done it: {_short(error)}") from error


@contextmanager
def changing() -> Iterator[None]:
    """Around database calls that change something."""
    try:
        yield
    except (PyMongoError, *_UNSTORABLE) as error:
        raise _change_failure(error) from error


def _change_failure(error: Exception) -> KhalaError:
    if isinstance(error, ServerSelectionTimeoutError | WaitQueueTimeoutError):
        return Unavailable(f"MongoDB cannot be written now: {_short(error)}")
    if isinstance(error, DocumentTooLarge):
        return TooLarge(f"MongoDB refuses a document of this size: {_short(error)}")
    if isinstance(error, _UNSTORABLE):
        return Rejected(f"a value cannot be stored: {_short(error)}")
    code = error.code if isinstance(error, OperationFailure) else _code(error)
    if code in _NOT_PRIMARY or isinstance(error, DuplicateKeyError):
        # A duplicate key outside of inserts is two upserts of one row at the same time.
        return Unavailable(f"MongoDB did not do it: {_short(error)}")
    if code in AUTHENTICATION_CODES:
        return Unavailable(f"MongoDB does not accept this node's credentials: {_short(error)}")
    if code == VALIDATION_FAILED:
        return InvariantBroken(f"a document broke the rules of its collection: {_short(error)}")
    return OutcomeUnknown(f"MongoDB may or may not have done it: {_short(error)}")


def item_failure(code: int, message: str) -> KhalaError:
    """What one failed item of an otherwise answered command means."""
    if code == VALIDATION_FAILED:
        return InvariantBroken(f"a document broke the rules of its collection: {message[:200]}")
    return OutcomeUnknown(f"MongoDB may or may not have done it (code {code}): {message[:200]}")


def _code(error: Exception) -> int | None:
    if isinstance(error, NotPrimaryError) and isinstance(error.details, dict):
        code = error.details.get("code")
        return code if isinstance(code, int) else None
    return None


def _short(error: Exception) -> str:
    """The driver appends whole topology descriptions; the first sentence is what helps."""
    return str(error).split(", Timeout:")[0].split(", full error:")[0][:300]
