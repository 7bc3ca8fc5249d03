"""How long ended tasks are kept, and what is never removed however little may be kept.

Nothing is removed unless an operator says how much is to be kept, or whoever submitted it how long,
because a cluster that deletes what it was not told to delete has lost it. What an operator says
still leaves three things alone: what has not ended, what ended less than `KEPT_S` ago, and what
somebody is about to need (see `Ended.needed`). What a task says of itself does so too, but for
`KEPT_S`, which holds for jobs alone then: who asks for a minute knows when to read the result.

A task's own retention is rounded up to steps that get longer with it. What is due is found by one
look at the oldest of each length, so there must not be as many lengths as tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.ids import TaskId
from khala.model.limits import MIB, RETENTION_MAX_S
from khala.model.task import Task

#: Whoever waited for a task has read it by then; and no process that stood still while its job was
#: closed can come back and make a member anew.
KEPT_S = 3600.0
#: A client that lost an answer repeats its request with the same key; it does so within a day, and
#: within an hour if it asked for less than that: clients and gateways give everything a key.
KEY_LIFE = timedelta(days=1)
OWN_KEY_LIFE = timedelta(seconds=KEPT_S)


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


#: Up to so many seconds a task's own retention is a whole number of that many.
_STEPS = ((2 * 86400, 60), (90 * 86400, 3600), (RETENTION_MAX_S, 86400))


def rounded_up(seconds: float) -> int:
    """To at most 8,600 different lengths, none of them 2.1 % more than was asked for, but for
    minutes below an hour."""
    step = next((step for bound, step in _STEPS if seconds <= bound), _STEPS[-1][1])
    return math.ceil(seconds / step) * step


def longest(said: Sequence[int | None]) -> int | None:
    """Of the members of a job; None if one of them says nothing."""
    known = [each for each in said if each is not None]
    return max(known) if known and len(known) == len(said) else None


def removal_date(task: Task) -> datetime | None:
    """When it is removed by what it says itself, if no other waits for it; None before its end, and
    for the task of a job, which goes when the job does."""
    keep_s = task.spec.retention_s
    if keep_s is None or task.done_at is None or task.spec.member is not None:
        return None
    date = task.done_at + timedelta(seconds=keep_s)
    return max(date, task.submitted_at + OWN_KEY_LIFE) if task.keyed else date


def check_own(seconds: int | None, keep: Retention) -> None:
    """What a task says of itself beside what the cluster keeps. Raise `Rejected`."""
    if seconds is not None and keep.age_s is not None and seconds > keep.age_s:
        raise Rejected(
            f"retention: {seconds} s are longer than the {keep.age_s:g} s for which this cluster"
            " keeps any task (--retention-age, or what is set in the cluster); give at most that,"
            " or leave it out",
            field="/retention",
        )


class Ended(Struct, frozen=True, kw_only=True):
    """What is removed as one: a task, or a job with all of its members."""

    id: TaskId
    ended_at: datetime
    #: What it says itself of how long it is kept.
    keep_s: int | None = None
    job: bool = False
    tasks: int = 1
    size_bytes: int = 0
    #: A task that has not ended waits for it, or a request may still be repeated under its key.
    needed: bool = False

    def is_due(self, now: datetime) -> bool:
        """By what it says itself."""
        if self.keep_s is None:
            return False
        least_s = max(self.keep_s, KEPT_S) if self.job else self.keep_s
        return self.ended_at + timedelta(seconds=least_s) < now


class Forgotten(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went, or would go."""

    tasks: int = 0
    jobs: int = 0
    size_bytes: int = 0
    #: Of the tasks: those that said so themselves.
    own: int = 0
    #: When the first and the last of them ended.
    oldest: datetime | None = None
    newest: datetime | None = None
    #: Those that should go and are needed.
    needed: int = 0
    #: There are more; only so many were looked at.
    more: bool = False
