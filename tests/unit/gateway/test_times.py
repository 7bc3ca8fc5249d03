"""KV2's times: what dateutil reads, always in UTC, and refused with the field's name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from khala.model.errors import Rejected
from khala.protocol import v2
from roles.gateway.times import TIME_CHARS, kv2_time, parse_kv2_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24T00:04:08.615000", datetime(2026, 11, 24, 0, 4, 8, 615000, tzinfo=UTC)),
        ("2026-11-24T00:04:08Z", datetime(2026, 11, 24, 0, 4, 8, tzinfo=UTC)),
        ("2026-11-24T02:04:08+02:00", datetime(2026, 11, 24, 0, 4, 8, tzinfo=UTC)),
        ("Nov 24 2026 10:00", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24 10:00 EST", datetime(2026, 11, 24, 10, tzinfo=UTC)),
    ],
)
def test_what_is_read(text: str, moment: datetime) -> None:
    assert parse_kv2_time(text, "start_time") == moment


@pytest.mark.parametrize(
    "text",
    ["never", "32.13.2026", "9" * 20, "0001-01-01T00:00+10:00", "1" * (TIME_CHARS + 1)],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Rejected, match="end_time") as raised:
        parse_kv2_time(text, "end_time")
    assert raised.value.field == "end_time"


def test_both_notations() -> None:
    moment = datetime(2026, 11, 24, 2, 4, 8, 615000, tzinfo=timezone(timedelta(hours=2)))
    assert v2.encode([v2.stamp(moment)]) == b'["2026-11-24T00:04:08.615Z"]'
    assert v2.encode([v2.stamp(moment.replace(microsecond=0))]) == b'["2026-11-24T00:04:08.000Z"]'
    assert kv2_time(moment) == "2026-11-24T00:04:08.615000"
    assert kv2_time(moment.replace(microsecond=0)) == "2026-11-24T00:04:08"
