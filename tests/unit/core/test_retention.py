"""Which ended tasks go: the oldest, and no more than a bound asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from khala.core.retention import Selection
from khala.model.ids import TaskId
from khala.model.retention import Ended, Forgotten, Retention

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
