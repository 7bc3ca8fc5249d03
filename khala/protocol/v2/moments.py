"""Times as `/api/v2` writes them: RFC 3339 in UTC, always with milliseconds, as they are stored.

msgspec would write six digits, or none at a full second; a notation of one width sorts and lines
up as text.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec


class _Moment(datetime):
    """Handed to `_write` because it is no plain `datetime`."""


def stamp(moment: datetime) -> datetime:
    """The same moment; `encode` writes it as `2026-11-24T00:04:08.615Z`."""
    at = moment.astimezone(UTC)
    return _Moment(
        at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=UTC
    )


def _write(value: object) -> str:
    if isinstance(value, _Moment):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise NotImplementedError(f"an answer holds a {type(value).__name__}")


def tag_of(attempt: int, state: str, updated_at: datetime) -> str:
    """The `ETag` of a task as it is stored, which changes whenever that does."""
    return f"{attempt}-{state}-{int(updated_at.timestamp() * 1000):x}"


#: The JSON of an answer.
encode = msgspec.json.Encoder(enc_hook=_write).encode
