"""Exit codes of the users' commands; scripts rely on them.

    0  done; for `wait`, `run` and `submit --wait`: the task succeeded
    1  the task did not succeed, or its verdict is not AC; the backup failed
    2  the command line, or the request, is wrong
    3  there is no such task, job, node or backup
    4  the gateway does not take this token
    5  it conflicts with what is: the task has ended already, or has not, or does not wait
    6  the cluster cannot be reached, or cannot answer now
    7  the time to wait is over, and the task has not ended
  130  interrupted

`run` passes on the exit code of the program instead.
"""

from __future__ import annotations

from khala.client.failures import Denied
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
    OutcomeUnknown,
    Unavailable,
)

FAILED = 1
USAGE = 2
NOT_FOUND = 3
DENIED = 4
CONFLICT = 5
UNREACHABLE = 6
TIMED_OUT = 7
INTERRUPTED = 130
#: The first that fits.
_CODES: tuple[tuple[type[KhalaError], int], ...] = (
    (NotFound, NOT_FOUND),
    (Denied, DENIED),
    (AlreadyDone, CONFLICT),
    (NotDone, CONFLICT),
    (CountDiffers, CONFLICT),
    (NotWaiting, CONFLICT),
    (NotPossible, CONFLICT),
    (LastAdmin, CONFLICT),
    (AlreadyThere, CONFLICT),
    (Changed, CONFLICT),
    (Conflict, CONFLICT),
    (Unavailable, UNREACHABLE),
    (OutcomeUnknown, UNREACHABLE),
)


def code_of(error: KhalaError) -> int:
    return next((code for kind, code in _CODES if isinstance(error, kind)), USAGE)
