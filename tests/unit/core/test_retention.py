"""Which ended tasks go: the oldest, and no more than a bound asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from khala.core.retention import Selection
from khala.model.errors import Rejected
from khala.model.ids import TaskId
from khala.model.limits import RETENTION_MAX_S, RETENTION_MIN_S
from khala.model.retention import Ended, Forgotten, Retention, check_own, longest, rounded_up

DAY = 86_400
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ended(minute: int, size_bytes: int = 10, **fields: object) -> Ended:
    at = NOON + timedelta(minutes=minute)
    each = Ended(id=TaskId(f"{minute:024x}"), ended_at=at, size_bytes=size_bytes)
    return replace(each, **fields)


def taken(selection: Selection, walk: list[Ended]) -> list[int]:
    found: list[int] = []
    for each in walk:
        if not selection.exceeds(each):
            break
        if selection.takes(each):
            found.append(int(each.id, 16))
    return found


@pytest.mark.parametrize(
    ("before", "excess_bytes", "gone"),
    [
        (None, 0, []),
        (0, 0, []),
        (2, 0, [0, 1]),
        (None, 1, [0]),
        (None, 20, [0, 1]),
        (None, 21, [0, 1, 2]),
        (3, 10, [0, 1, 2]),
        (1, 30, [0, 1, 2]),
        (99, 10_000, [0, 1, 2, 3]),
    ],
)
def test_what_exceeds_a_bound_goes_oldest_first(
    before: int | None, excess_bytes: int, gone: list[int]
) -> None:
    date = None if before is None else NOON + timedelta(minutes=before)
    selection = Selection(before=date, excess_bytes=excess_bytes)
    assert taken(selection, [ended(minute) for minute in range(4)]) == gone


def test_what_is_needed_stays_and_frees_nothing() -> None:
    selection = Selection(before=None, excess_bytes=15)
    walk = [ended(0, needed=True, tasks=3), ended(1), ended(2), ended(3)]
    assert taken(selection, walk) == [1, 2]
    assert selection.found.needed == 3


def test_what_went_is_counted() -> None:
    selection = Selection(before=NOON + timedelta(days=1))
    taken(selection, [ended(0), ended(5, 70, job=True, tasks=7)])
    assert selection.found == Forgotten(
        tasks=8, jobs=1, size_bytes=80, oldest=NOON, newest=NOON + timedelta(minutes=5)
    )


def test_a_policy_says_what_it_keeps() -> None:
    assert (str(Retention()), Retention().on) == ("everything", False)
    keep = Retention(age_s=86400 * 30, count=5, size_bytes=3 << 20)
    assert keep.on
    assert str(keep) == (
        "what ended within 30 days, 0:00:00, and of that the newest 5,"
        " and of that what fits into 3 MiB"
    )


def test_there_are_fewer_lengths_than_anybody_may_ask_for() -> None:
    assert [rounded_up(each) for each in (60, 60.5, 3600, 2 * DAY)] == [60, 120, 3600, 2 * DAY]
    assert rounded_up(2 * DAY + 1) == 2 * DAY + 3600
    assert rounded_up(90 * DAY + 1) == 91 * DAY
    assert rounded_up(RETENTION_MAX_S) == RETENTION_MAX_S
    asked = range(RETENTION_MIN_S, RETENTION_MAX_S, 1800)
    assert all(each <= rounded_up(each) < each * 1.03 + 60 for each in asked)
    assert len({rounded_up(each) for each in asked}) < 8600


def test_a_job_is_kept_as_long_as_the_longest_of_its_tasks() -> None:
    assert longest([60]) == 60
    assert longest([60, 180, 120]) == 180
    assert longest([60, None]) is None
    assert longest([]) is None


def test_a_task_cannot_ask_for_more_than_the_cluster_keeps() -> None:
    check_own(None, Retention(age_s=60))
    check_own(RETENTION_MAX_S, Retention(count=1))
    check_own(7 * DAY, Retention(age_s=7.0 * DAY))
    with pytest.raises(Rejected, match=r"604800 s.*518400 s.*--retention-age") as refused:
        check_own(7 * DAY, Retention(age_s=6.0 * DAY))
    assert refused.value.field == "/retention"


def test_what_goes_by_its_own_word_is_counted_apart_and_frees_its_bytes() -> None:
    selection = Selection(before=None, excess_bytes=15)
    assert selection.takes(ended(9), own=True)
    assert taken(selection, [ended(1), ended(2)]) == [1]
    found = selection.found
    assert (found.tasks, found.own, found.size_bytes) == (2, 1, 20)
    assert (found.oldest, found.newest) == (
        NOON + timedelta(minutes=1),
        NOON + timedelta(minutes=9),
    )
