"""What ended, added up: how, after which wait, with which use of processors.

A tally is all that is kept of a stretch of time, so it must be small whatever happened in it, and
two of them must add up to that of both stretches. Counts do; medians do not. So times are counted
in buckets, each a fourth root of two wider than the one before: a median is known to within 9.1 %
of itself, whatever it is, and 137 buckets reach from a millisecond to half a year.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from msgspec import Struct

#: Of a doubling.
BUCKETS_PER_OCTAVE = 4


class Level(Struct, frozen=True, kw_only=True):
    """Stretches of one length, each of which is kept for a while."""

    step_s: int
    kept: timedelta


#: Each made of the one before.
MINUTES = Level(step_s=60, kept=timedelta(days=3))
HOURS = Level(step_s=3600, kept=timedelta(days=35))
DAYS = Level(step_s=86_400, kept=timedelta(days=500))
LEVELS = (MINUTES, HOURS, DAYS)


def floor(moment: datetime, step_s: int) -> datetime:
    """When the stretch began that it is in; days are those of UTC."""
    seconds = int(moment.timestamp())
    return datetime.fromtimestamp(seconds - seconds % step_s, UTC)


def level_of(step_s: int) -> Level:
    """The longest stretches that make up one of this length."""
    return next(level for level in reversed(LEVELS) if step_s % level.step_s == 0)


@dataclass(slots=True)
class Tally:
    """Of the tasks that ended in a stretch of time."""

    #: By how they ended.
    ended: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    #: From the submission to the start of the first attempt, and from the start of the last one to
    #: the end, by bucket; of those that had any.
    wait: Counter[int] = field(default_factory=Counter)
    run: Counter[int] = field(default_factory=Counter)
    cpu_ms: int = 0
    #: Results that were not the last.
    retries: int = 0
    #: Attempts that ended with the loss of their executor.
    losses: int = 0

    def add(self, other: Tally) -> None:
        self.ended.update(other.ended)
        self.verdicts.update(other.verdicts)
        self.wait.update(other.wait)
        self.run.update(other.run)
        self.cpu_ms += other.cpu_ms
        self.retries += other.retries
        self.losses += other.losses


def middle(bucket: int) -> float:
    """Of a bucket, in seconds."""
    return 0.0 if bucket == 0 else 2 ** ((bucket - 0.5) / BUCKETS_PER_OCTAVE) / 1000


def mean(buckets: Mapping[int, int]) -> float | None:
    """Seconds."""
    count = sum(buckets.values())
    return sum(middle(each) * n for each, n in buckets.items()) / count if count else None


def quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """Seconds: the middle of the bucket in which that share of all is reached."""
    left = share * sum(buckets.values())
    for bucket in sorted(buckets):
        left -= buckets[bucket]
        if left <= 0:
            return middle(bucket)
    return None
