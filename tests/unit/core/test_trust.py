"""A leader's belief in itself never outlives its lease."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from khala.core.trust import MARGIN_S, Trust

TTL_S = 5.0
instants = st.floats(0, 1000, allow_nan=False)


def test_nobody_leads_unasked() -> None:
    assert not Trust(ttl_s=TTL_S).holds(0.0)


def test_trust_ends_a_margin_before_the_lease() -> None:
    trust = Trust(ttl_s=TTL_S)
    trust.renewed(sent_at=10.0)
    assert trust.holds(10.0)
    assert trust.holds(10.0 + TTL_S - MARGIN_S - 0.001)
    assert not trust.holds(10.0 + TTL_S - MARGIN_S)


def test_what_is_lost_stays_lost_until_the_next_renewal() -> None:
    trust = Trust(ttl_s=TTL_S)
    trust.renewed(10.0)
    trust.lost()
    assert not trust.holds(10.0)
    trust.renewed(11.0)
    assert trust.holds(12.0)


def test_a_renewal_that_comes_late_takes_nothing_away() -> None:
    """Answers can overtake each other."""
    trust = Trust(ttl_s=TTL_S)
    trust.renewed(12.0)
    trust.renewed(10.0)
    assert trust.holds(16.0)


@given(st.lists(st.tuples(instants, st.floats(0, 20, allow_nan=False))), instants)
def test_trust_never_outlives_the_lease(renewals: list[tuple[float, float]], now: float) -> None:
    """etcd renews some time after the request was sent, and keeps the lease for its whole ttl."""
    trust, expires_at = Trust(ttl_s=TTL_S), float("-inf")
    for sent_at, travelled_s in renewals:
        trust.renewed(sent_at)
        expires_at = max(expires_at, sent_at + travelled_s + TTL_S)
    if trust.holds(now):
        assert now <= expires_at - MARGIN_S


@given(st.floats(0.0, 0.05), st.floats(1.0, 5.0))
def test_a_drift_of_clocks_within_the_margin_is_harmless(drift: float, ttl_s: float) -> None:
    """A leader's clock may run slow by as much as the margin makes up for."""
    trust = Trust(ttl_s=ttl_s)
    trust.renewed(0.0)
    expires_at_own = ttl_s * (1 - drift)
    assert not trust.holds(expires_at_own)
