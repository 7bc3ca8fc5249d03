"""How long ended tasks are kept, and what is never removed however little may be kept.

Nothing is removed unless an operator says how much is to be kept, because a cluster that deletes
what it was not told to delete has lost it. What an operator says still leaves three things alone:
what has not ended, what ended less than `KEPT_S` ago, and what somebody is about to need (see
`Ended.needed`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from khala.model.ids import TaskId
from khala.model.limits import MIB

#: Whoever waited for a task has read it by then; and no process that stood still while its job was
#: closed can come back and make a member anew.
KEPT_S = 3600.0
#: A client that lost an answer repeats its request with the same key; it does so within a day.
KEY_LIFE = timedelta(days=1)


class Retention(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of the tasks that have ended; None: all of them."""

    age_s: float | None = None
    count: int | None = None
    size_bytes: int | None = None

    @property
    def on(self) -> bool:
        return any(each is not None for each in (self.age_s, self.count, self.size_bytes))

    def __str__(self) -> str:
        kept = []
        if self.age_s is not None:
            kept.append(f"what ended within {timedelta(seconds=self.age_s)}")
        if self.count is not None:
            kept.append(f"the newest {self.count}")
        if self.size_bytes is not None:
            kept.append(f"what fits into {self.size_bytes / MIB:g} MiB")
        return ", and of that ".join(kept) or "everything"


class Ended(Struct, frozen=True, kw_only=True):
    """What is removed as one: a task, or a job with all of its members."""

    id: TaskId
    ended_at: datetime
    job: bool = False
    tasks: int = 1
    size_bytes: int = 0
    #: A task that has not ended waits for it, or a request may still be repeated under its key.
    needed: bool = False


class Forgotten(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went, or would go."""

    tasks: int = 0
    jobs: int = 0
    size_bytes: int = 0
    #: When the first and the last of them ended.
    oldest: datetime | None = None
    newest: datetime | None = None
    #: Those that should go and are needed.
    needed: int = 0
    #: There are more; only so many were looked at.
    more: bool = False
