"""What ended, as a table with bars."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from khala.client import AsyncKhala
from khala.model.errors import Rejected
from khala.protocol.v2 import EndedCounts, Percentiles, Stats, StatsBucket
from roles.client.stats import show_stats
from roles.client.tables import Form

AT = datetime(2026, 11, 24, tzinfo=UTC)
NOTHING = Percentiles(p50=None, p95=None)


def a_bucket(hour: int, **fields: object) -> StatsBucket:
    given = {
        "at": AT + timedelta(hours=hour),
        "ended": EndedCounts(),
        "verdicts": {},
        "wait_s": NOTHING,
        "run_s": NOTHING,
        "cpu_s": 0.0,
        "retries": 0,
        "losses": 0,
    }
    return StatsBucket(**given | fields)  # type: ignore[arg-type]


STATS = Stats(
    from_=AT,
    to=AT + timedelta(hours=3),
    step_s=3600,
    buckets=[
        a_bucket(
            0,
            ended=EndedCounts(succeeded=999, failed=1),
            verdicts={"AC": 7, "WA": 2},
            wait_s=Percentiles(p50=0.0123, p95=250.0),
            run_s=Percentiles(p50=1.5, p95=59.0),
            cpu_s=12.34,
        ),
        a_bucket(1),
        a_bucket(2, ended=EndedCounts(cancelled=1), retries=3, losses=4),
    ],
    complete_to=AT,
)


class Asked:
    """Answers with what it has."""

    def __init__(self) -> None:
        self.asked: tuple[datetime, str] | None = None

    async def stats(self, *, start: datetime, step: str) -> Stats:
        self.asked = start, step
        return STATS


def test_each_step_has_a_bar_that_shows_what_did_not_succeed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = Asked()
    khala = cast(AsyncKhala, asked)
    assert asyncio.run(show_stats(khala, Form.TABLE, since_s=7200, step="1h")) == 0
    told = capsys.readouterr()
    _, first, empty, last, summary, verdicts = told.out.splitlines()
    assert first.split() == [
        *("2026-11-24T00:00:00Z", "1000", "999", "0.0123s/4m", "1.5s/59s", "12.3", "s", "0", "0"),
        "#" * 29 + "x",
    ]
    assert empty.split() == ["2026-11-24T01:00:00Z", "0", "0", "-", "-", "0.0", "s", "0", "0"]
    assert last.split()[-3:] == ["3", "4", "x"]
    assert summary == "1001 ended: 999 succeeded, 1 failed, 1 cancelled"
    assert verdicts == "verdicts: 7 AC, 2 WA"
    assert "complete to 2026-11-24T00:00:00Z" in told.err
    assert asked.asked is not None and asked.asked[1] == "1h"
    assert abs((datetime.now(UTC) - asked.asked[0]).total_seconds() - 7200) < 600


def test_steps_have_no_names() -> None:
    with pytest.raises(Rejected, match="-o name: steps have no names"):
        asyncio.run(show_stats(cast(AsyncKhala, Asked()), Form.NAME, since_s=60.0, step="1h"))
