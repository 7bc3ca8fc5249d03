"""The three families of failure that decide what a caller may do next.

Every error of Khala is one of them, because the right reaction differs and guessing it from a
message loses tasks: `Rejected` must not be retried, `Unavailable` may be retried blindly,
`OutcomeUnknown` must be looked up before anything is repeated. A class docstring is the default
message; a message names the field or flag, the limit, the value given and the next step.
"""

from __future__ import annotations


class KhalaError(Exception):
    """Khala failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


class Rejected(KhalaError):
    """The request cannot be accepted as it is; repeating it changes nothing."""

    #: Pointer to the offending field (`/execute/timeout`, `--slots`), when one is to blame.
    field: str | None

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TooLarge(Rejected):
    """The request is larger than its limit."""


class NoSuchImage(Rejected):
    """No executor that this cluster knows has the image."""


class NoNetworkOffered(Rejected):
    """No executor that this cluster knows offers the network."""


class NoSuchBlob(Rejected):
    """A blob that the request names is not stored here."""


class NoSuchTask(Rejected):
    """A task that the request depends on does not exist."""


class NotFound(Rejected):
    """There is no such object."""


class AlreadyDone(Rejected):
    """The task has already ended; its outcome never changes."""


class NotDone(Rejected):
    """The task has not ended yet."""


class NotWaiting(Rejected):
    """The task does not wait any more, or does not yet."""


class Changed(Rejected):
    """What is stored is not what the request was made for."""


class CountDiffers(Rejected):
    """There are more or fewer tasks than the request expects."""


class OffsetDiffers(Rejected):
    """More or fewer bytes of the upload are stored than the request expects."""


class QuotaExceeded(Rejected):
    """The user has as much as its quota allows."""


class Conflict(Rejected):
    """The same idempotency key was used with a different request."""


class Forbidden(Rejected):
    """Who asks may not do this."""


class LastAdmin(Rejected):
    """Nobody would be left who may make users."""


class AlreadyThere(Rejected):
    """There is one of this name already."""


class NotPossible(Rejected):
    """What the cluster is, or is doing, does not allow it."""


class NameTaken(Rejected):
    """Another process of this name is connected."""


class Unavailable(KhalaError):
    """The service cannot do this now; nothing happened, retry later."""


class RateLimited(Unavailable):
    """Requests come faster than they may; nothing happened."""

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(KhalaError):
    """The request may or may not have taken effect; read before repeating it."""


class InvariantBroken(KhalaError):
    """A condition that must always hold does not; the process must not go on."""


def invariant(condition: bool, message: str) -> None:
    """Stay on in production (unlike `assert`): a process that broke its own rules must die."""
    if not condition:
        raise InvariantBroken(message)
