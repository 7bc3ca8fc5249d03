"""Adding up what ended: stretches of time, and medians out of counts."""

from __future__ import annotations

import math
import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from khala.model.statistics import (
    BUCKETS_PER_OCTAVE,
    DAYS,
    HOURS,
    MINUTES,
    Tally,
    floor,
    level_of,
    quantile,
)

AT = datetime(2026, 11, 28, 13, 47, 31, 999_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("step_s", "begins"),
    [
        (60, datetime(2026, 11, 28, 13, 47, tzinfo=UTC)),
        (300, datetime(2026, 11, 28, 13, 45, tzinfo=UTC)),
        (3600, datetime(2026, 11, 28, 13, tzinfo=UTC)),
        (86_400, datetime(2026, 11, 28, tzinfo=UTC)),
    ],
)
def test_a_stretch_begins_where_clocks_say_so(step_s: int, begins: datetime) -> None:
    assert floor(AT, step_s) == begins == floor(begins, step_s)


def test_a_step_is_made_of_the_longest_stretches_that_fit() -> None:
    levels = [level_of(step_s) for step_s in (60, 300, 3600, 86_400)]
    assert levels == [MINUTES, MINUTES, HOURS, DAYS]


def bucket_of(ms: float) -> int:
    """As the store has it computed by MongoDB."""
    return 0 if ms < 1 else 1 + math.floor(BUCKETS_PER_OCTAVE * math.log2(ms))


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_quantile_is_off_by_nine_percent_at_the_most(share: float) -> None:
    numbers = random.Random(7)
    for _ in range(200):
        times = sorted(math.exp(numbers.uniform(0, 20)) for _ in range(numbers.randint(1, 99)))
        exact = times[math.ceil(share * len(times)) - 1] / 1000
        found = quantile(Counter(map(bucket_of, times)), share)
        assert found is not None
        assert abs(found - exact) <= 0.091 * exact


def test_nothing_has_no_median_and_no_time_is_none() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({0: 3}, 0.95) == 0.0


def test_two_stretches_add_up_to_that_of_both() -> None:
    first = Tally(ended=Counter(succeeded=2), wait=Counter({3: 2}), cpu_ms=5, retries=1)
    second = Tally(
        ended=Counter(succeeded=1, failed=1),
        verdicts=Counter(AC=1),
        wait=Counter({3: 1, 4: 1}),
        run=Counter({9: 2}),
        cpu_ms=7,
        losses=2,
    )
    first.add(second)
    assert first == Tally(
        ended=Counter(succeeded=3, failed=1),
        verdicts=Counter(AC=1),
        wait=Counter({3: 3, 4: 1}),
        run=Counter({9: 2}),
        cpu_ms=12,
        retries=1,
        losses=2,
    )
