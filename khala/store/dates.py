"""Dates as the store keeps them: UTC, milliseconds (BSON has no more)."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def to_ms(date: datetime) -> datetime:
    """Cut to what survives a round trip, so that a task reads the same before and after one."""
    return date.astimezone(UTC).replace(microsecond=date.microsecond // 1000 * 1000)
