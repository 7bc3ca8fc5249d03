"""What ended, by time."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class EndedCounts(Struct, frozen=True, kw_only=True):
    """Tasks by how they ended."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    error: int = 0


class Percentiles(Struct, frozen=True, kw_only=True):
    """Seconds, to within 9.1 %; null where nothing was measured."""

    p50: float | None
    p95: float | None


class StatsBucket(Struct, frozen=True, kw_only=True):
    """The tasks that ended in one step."""

    #: When it began.
    at: datetime
    ended: EndedCounts
    #: By verdict, of those that have one.
    verdicts: dict[str, int]
    #: From the submission to the start of the first attempt, of those that had one.
    wait_s: Percentiles
    #: From the start of the last attempt to the end.
    run_s: Percentiles
    #: Processor time of all attempts that brought a result.
    cpu_s: float
    #: Results that were not the last of their tasks.
    retries: int
    #: Attempts that ended with the loss of their executor.
    losses: int


class Stats(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """What ended, step by step."""

    #: When the first step began.
    from_: datetime
    #: When the last one ends.
    to: datetime
    step_s: int
    #: Every step, also those in which nothing ended.
    buckets: list[StatsBucket]
    #: All that ended before this is in them. It is long ago where the cluster had no leader for
    #: long, or has begun to count what ended before it was upgraded.
    complete_to: datetime
