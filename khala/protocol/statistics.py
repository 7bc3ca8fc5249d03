"""What ended, by time, between gateways and judicators.

POST /rpc/v1/statistics  ReadStatistics -> StatisticsView
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class ReadStatistics(Struct, frozen=True, kw_only=True):
    """Whole steps, from the beginning of one to the end of another."""

    start: datetime
    end: datetime
    step_s: int


class Times(Struct, frozen=True, kw_only=True):
    """Seconds; None where nothing was measured."""

    p50: float | None = None
    p95: float | None = None
    mean: float | None = None


class Bucket(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step in which something ended."""

    at: datetime
    ended: dict[str, int] = {}
    verdicts: dict[str, int] = {}
    wait_s: Times = Times()
    run_s: Times = Times()
    cpu_ms: int = 0
    retries: int = 0
    losses: int = 0


class StatisticsView(Struct, frozen=True, kw_only=True):
    #: In order; a step in which nothing ended is not among them.
    buckets: list[Bucket]
    #: All that ended before this is in them.
    complete_to: datetime
