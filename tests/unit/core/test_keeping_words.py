"""What is kept by the words of hosts and of the cluster: more at once, less after a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khala.config.keeping import check_keeping
from khala.model.errors import NotPossible, Rejected
from khala.model.keeping import (
    AUDIT_MAX_S,
    EARLIER_WORDS,
    EVERYTHING,
    NOTICE,
    ClusterKeeping,
    Keeping,
    ToldKeeping,
    ToldRetention,
    keeping_in_force,
    less_from,
    replaced,
)
from khala.model.limits import BACKUPS_MAX
from khala.model.retention import Retention

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY_S = 86400.0
HOSTS = Keeping(retention=Retention(age_s=10 * DAY_S), audit_s=100 * DAY_S, backups_kept=5)

_amounts = st.none() | st.integers(0, 4)
_told = st.builds(
    ToldKeeping,
    retention=st.builds(ToldRetention, age_s=_amounts, count=_amounts, size_bytes=_amounts),
    audit_s=st.none() | st.integers(1, 3) | st.just(AUDIT_MAX_S),
    backups_kept=st.none() | st.integers(1, 3) | st.just(BACKUPS_MAX),
)
_bounds = st.none() | st.integers(1, 4)
_hosts = st.builds(
    Keeping,
    retention=st.builds(Retention, age_s=_bounds, count=_bounds, size_bytes=_bounds),
    audit_s=st.integers(1, 4),
    backups_kept=st.integers(1, 4),
)
#: How many hours after the one before it each word is said.
_history = st.lists(st.tuples(st.integers(0, 40), _told), max_size=12)


def amounts(kept: Keeping) -> list[float]:
    """No bound is more than any."""
    one = kept.retention
    bounds = (one.age_s, one.count, one.size_bytes)
    known = [float("inf") if each is None else float(each) for each in bounds]
    return [*known, kept.audit_s, kept.backups_kept]


def alone(hosts: Keeping, told: ToldKeeping) -> list[float]:
    return amounts(keeping_in_force(hosts, ClusterKeeping(told=told), NOON))


def age(days: float | None) -> ToldKeeping:
    return ToldKeeping(retention=ToldRetention(age_s=None if days is None else days * DAY_S))


@given(_hosts, _history, st.integers(0, 40))
def test_what_was_said_within_a_day_holds_where_it_keeps_more_and_nothing_else(
    hosts: Keeping, history: list[tuple[int, ToldKeeping]], later: int
) -> None:
    known, now = ClusterKeeping(), NOON
    said = [(now, ToldKeeping())]
    for hours, told in history:
        now += hours * HOUR
        known = replaced(known, told, now)
        said.append((now, told))
    now += later * HOUR
    ends = [at for at, _ in said[1:]]
    binding = [told for end, (_, told) in zip(ends, said, strict=False) if now < end + NOTICE]
    words = [alone(hosts, told) for told in (*binding, said[-1][1])]
    assert amounts(keeping_in_force(hosts, known, now)) == [
        max(each) for each in zip(*words, strict=True)
    ]


@given(_hosts, _history, _told)
def test_a_day_later_it_is_exactly_what_was_said(
    hosts: Keeping, history: list[tuple[int, ToldKeeping]], last: ToldKeeping
) -> None:
    known, now = ClusterKeeping(), NOON
    for hours, told in (*history, (1, last)):
        now += hours * HOUR
        known = replaced(known, told, now)
    assert amounts(keeping_in_force(hosts, known, now + NOTICE)) == alone(hosts, last)
    assert less_from(hosts, known, now + NOTICE) is None


@given(_hosts, _history)
def test_what_is_coming_is_less_and_begins_when_it_is_said_to(
    hosts: Keeping, history: list[tuple[int, ToldKeeping]]
) -> None:
    known, now = ClusterKeeping(), NOON
    for hours, told in history:
        now += hours * HOUR
        known = replaced(known, told, now)
    steps = [amounts(keeping_in_force(hosts, known, now))]
    while (date := less_from(hosts, known, now)) is not None:
        moment = timedelta(milliseconds=1)
        assert amounts(keeping_in_force(hosts, known, date - moment)) == steps[-1]
        now = date
        steps.append(amounts(keeping_in_force(hosts, known, now)))
    for before, after in pairwise(steps):
        assert before != after
        assert all(less <= more for less, more in zip(after, before, strict=True))
    assert steps[-1] == alone(hosts, known.told)


def test_more_is_in_force_at_once_and_less_a_day_later() -> None:
    longer = replaced(ClusterKeeping(), age(30), NOON)
    assert keeping_in_force(HOSTS, longer, NOON).retention == Retention(age_s=30 * DAY_S)
    assert less_from(HOSTS, longer, NOON) is None
    shorter = replaced(longer, age(1), NOON + 48 * HOUR)
    until = NOON + 72 * HOUR
    assert less_from(HOSTS, shorter, NOON + 49 * HOUR) == until
    kept = [keeping_in_force(HOSTS, shorter, until + n * HOUR).retention for n in (-1, 0)]
    assert kept == [Retention(age_s=30 * DAY_S), Retention(age_s=DAY_S)]
    assert shorter.changed_at == NOON + 48 * HOUR


def test_what_is_taken_back_within_the_day_was_never_in_force() -> None:
    longer = replaced(ClusterKeeping(), age(30), NOON)
    shorter = replaced(longer, age(1), NOON + 48 * HOUR)
    back = replaced(shorter, age(30), NOON + 71 * HOUR)
    assert less_from(HOSTS, back, NOON + 71 * HOUR) is None
    assert [each.told for each in back.earlier] == []


def test_a_word_that_says_nothing_binds_as_its_host_does() -> None:
    known = replaced(ClusterKeeping(), age(1), NOON)
    assert keeping_in_force(HOSTS, known, NOON).retention.age_s == 10 * DAY_S
    gone = replaced(known, ToldKeeping(), NOON + 48 * HOUR)
    for host, now in ((Retention(), Retention()), (Retention(age_s=60), Retention(age_s=DAY_S))):
        hosts = Keeping(retention=host)
        assert keeping_in_force(hosts, gone, NOON + 49 * HOUR).retention == now
        assert keeping_in_force(hosts, gone, NOON + 72 * HOUR).retention == host


def test_the_same_word_again_changes_nothing() -> None:
    known = replaced(ClusterKeeping(), age(1), NOON)
    assert replaced(known, age(1), NOON + HOUR) is known
    assert replaced(ClusterKeeping(), ToldKeeping(), NOON) == ClusterKeeping()


def test_words_that_say_the_same_are_one_and_old_ones_go() -> None:
    known = ClusterKeeping()
    for n in range(100):
        known = replaced(known, age(1 + n % 2), NOON + n * HOUR / 10)
    assert [each.told for each in known.earlier] == [ToldKeeping()]
    known = replaced(known, age(0.5), NOON + 100 * HOUR)
    assert [each.told for each in known.earlier] == [age(2)]


def test_so_many_words_bind_and_one_that_keeps_more_is_never_too_many() -> None:
    known = replaced(ClusterKeeping(), age(30), NOON)
    now = NOON + 48 * HOUR
    for n in range(EARLIER_WORDS):
        known = replaced(known, age(29 - n), now + n * HOUR / 10)
    with pytest.raises(NotPossible, match=r"20 earlier words still bind.*2026-03-04 12:00:00 UTC"):
        replaced(known, age(5), now + 3 * HOUR)
    assert replaced(known, age(30), now + 3 * HOUR).earlier == ()
    assert len(replaced(known, age(11), now + 3 * HOUR).earlier) == EARLIER_WORDS - 1
    assert replaced(known, age(0), now + 3 * HOUR).earlier == ()
    assert replaced(known, age(5), now + 24 * HOUR).told == age(5)


def test_what_a_judicator_that_knows_nothing_keeps_is_never_less() -> None:
    told = ToldKeeping(audit_s=AUDIT_MAX_S, backups_kept=BACKUPS_MAX)
    most = keeping_in_force(Keeping(), ClusterKeeping(told=told), NOON)
    assert most == EVERYTHING


@pytest.mark.parametrize(
    ("told", "field"),
    [
        (age(1 / 25), "/keeping/retention/age_s"),
        (age(-1), "/keeping/retention/age_s"),
        (age(float("nan")), "/keeping/retention/age_s"),
        (age(36_501), "/keeping/retention/age_s"),
        (ToldKeeping(retention=ToldRetention(count=-1)), "/keeping/retention/count"),
        (ToldKeeping(retention=ToldRetention(size_bytes=2**51)), "/keeping/retention/size_bytes"),
        (ToldKeeping(audit_s=0.0), "/keeping/audit_s"),
        (ToldKeeping(audit_s=AUDIT_MAX_S + 1), "/keeping/audit_s"),
        (ToldKeeping(backups_kept=0), "/keeping/backups_kept"),
        (ToldKeeping(backups_kept=BACKUPS_MAX + 1), "/keeping/backups_kept"),
    ],
)
def test_judicators_refuse_what_no_host_may_be_told(told: ToldKeeping, field: str) -> None:
    with pytest.raises(Rejected, match=r"from .* to .* was given") as refused:
        check_keeping(told)
    assert refused.value.field == field
    check_keeping(ToldKeeping(retention=ToldRetention(age_s=0, count=0, size_bytes=0)))
    check_keeping(age(1 / 24))


def test_a_clock_that_is_behind_shortens_no_notice() -> None:
    """Another judicator said the word before, by its own clock."""
    more, less = ToldKeeping(backups_kept=9), ToldKeeping(backups_kept=1)
    known = replaced(ClusterKeeping(), more, NOON)
    late = replaced(known, less, NOON - 30 * HOUR)
    assert late.changed_at == NOON
    assert keeping_in_force(HOSTS, late, NOON + NOTICE - HOUR).backups_kept == 9
