"""Times as KV2 writes and reads them: UTC with milliseconds, as stored."""

from __future__ import annotations

from datetime import UTC, datetime

from dateutil import parser

from khala.model.errors import Rejected

#: No date is longer; dateutil's effort grows with its input.
TIME_CHARS = 64


def kv2_time(moment: datetime) -> str:
    """KV2's: naive, six digits of a second, none at all at a full second."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()


def parse_kv2_time(text: str, field: str) -> datetime:
    """Anything dateutil reads, as KV2 did. Without a time zone it is UTC; a zone's name that says
    nothing to everybody (`EST`) is ignored."""
    if len(text) > TIME_CHARS:
        raise Rejected(f"{field}: a time has at most {TIME_CHARS} characters", field=field)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        moment = parser.parse(
            text, default=midnight.replace(tzinfo=None), tzinfos=lambda _, offset: offset
        )
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError) as error:
        raise Rejected(f"{field}: {text!r} is not a time", field=field) from error
