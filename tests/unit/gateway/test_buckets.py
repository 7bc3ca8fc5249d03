"""How many requests a bucket lets through, when, and what it says of that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roles.gateway.buckets import Buckets


def test_a_burst_then_the_rate() -> None:
    buckets = Buckets(per_second=2, burst=3, bound=10)
    found = [buckets.take("ann", 100.0) for _ in range(4)]
    assert [(each.taken, each.level) for each in found] == [
        (True, 2.0),
        (True, 1.0),
        (True, 0.0),
        (False, 0.0),
    ]
    assert found[-1].more_in_s == 0.5
    assert not buckets.take("ann", 100.25).taken
    assert buckets.take("ann", 100.5).taken
    assert not buckets.take("ann", 100.5).taken


def test_a_silence_gives_a_burst_and_no_more() -> None:
    buckets = Buckets(per_second=10, burst=3, bound=10)
    buckets.take("ann", 0.0)
    assert [buckets.take("ann", 1000.0).taken for _ in range(5)] == [True] * 3 + [False] * 2


def test_looking_takes_nothing() -> None:
    buckets = Buckets(per_second=1, burst=1, bound=10)
    for _ in range(3):
        assert buckets.look("ann", 0.0).taken
    taken = buckets.take("ann", 0.0)
    assert taken.taken
    assert not buckets.look("ann", 0.0).taken


def test_nobody_takes_out_of_anothers() -> None:
    buckets = Buckets(per_second=1, burst=1, bound=10)
    assert buckets.take("ann", 0.0).taken
    assert buckets.take("ben", 0.0).taken
    assert not buckets.take("ann", 0.0).taken


def test_at_the_bound_the_most_silent_one_begins_anew() -> None:
    buckets = Buckets(per_second=0.001, burst=1, bound=2)
    for key in ("ann", "ben"):
        buckets.take(key, 0.0)
    # Being refused is no silence: whoever goes on asking is not forgotten for it.
    assert not buckets.take("ann", 1.0).taken
    assert buckets.take("eve", 1.0).taken
    assert not buckets.take("ann", 1.0).taken
    assert buckets.take("ben", 1.0).taken


@given(
    per_second=st.floats(0.01, 1000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 5), max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    buckets = Buckets(per_second=per_second, burst=burst, bound=1)
    now, times = 0.0, []
    for pause in pauses:
        now += pause
        found = buckets.take("ann", now)
        assert 0 <= found.level < burst
        assert 0 < found.more_in_s <= 1 / per_second + 1e-9
        if found.taken:
            times.append(now)
        else:
            # What it says is true: after that time there is room, and shortly before there is not.
            assert buckets.look("ann", now + found.more_in_s + 1e-6).taken
            assert not buckets.look("ann", now + found.more_in_s - 1e-3 / per_second).taken
    for first, start in enumerate(times):
        for count, end in enumerate(times[first:], 1):
            assert count <= burst + (end - start) * per_second + 1e-6
