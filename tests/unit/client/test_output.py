"""What `logs` shows of what it is sent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from roles.client.output import since_of


@pytest.mark.parametrize("seconds", [1e300, 86_400.0 * 10**7])
def test_an_age_beyond_all_dates_leaves_nothing_out(seconds: float) -> None:
    assert since_of(seconds) is None


def test_an_age_is_a_date() -> None:
    since = since_of(60.0)
    assert since is not None
    assert 59 < (datetime.now(UTC) - since).total_seconds() < 120
