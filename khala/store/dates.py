"""Dates as the store keeps them: UTC, milliseconds (BSON has no more)."""

from __future__ import annotations

from datetime import UTC, datetime

from khala.model.blob import UploadId
from khala.model.ids import TaskId


def utc_now() -> datetime:
    return datetime.now(UTC)


def to_ms(date: datetime) -> datetime:
    """Cut to what survives a round trip, so that a task reads the same before and after one."""
    return date.astimezone(UTC).replace(microsecond=date.microsecond // 1000 * 1000)


def id_date(task: TaskId | UploadId) -> datetime:
    """When the id was minted, to the second, by the clock of its judicator."""
    return datetime.fromtimestamp(int(task[:8], 16), UTC)
