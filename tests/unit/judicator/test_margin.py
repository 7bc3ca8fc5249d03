"""What is said of what the cluster may still lose, by how many there are and are seen."""

from __future__ import annotations

import pytest

from roles.judicator.margin import margin_notes


def names(count: int) -> list[str]:
    return [f"j{n}" for n in range(count)]


@pytest.mark.parametrize(
    ("members", "present", "says"),
    [
        (1, 1, "One judicator: the cluster does not survive the loss of its host."),
        (2, 2, "Two judicators survive no failure; add a third."),
        (4, 4, "4 judicators survive the loss of 1, as 3 do; add one."),
        (6, 6, "6 judicators survive the loss of 2, as 5 do; add one."),
        (3, 2, "1 of 3 judicators cannot be seen (j2): the loss of one more is not survived."),
        (5, 4, "1 of 5 judicators cannot be seen (j4): 1 more may be lost."),
        (5, 3, "2 of 5 judicators cannot be seen (j3, j4): the loss of one more is not survived."),
        # Its own entry is not there yet, or the directory is behind.
        (2, 0, "2 of 2 judicators cannot be seen (j0, j1): the loss of one more is not survived."),
    ],
)
def test_what_is_missing_is_said(members: int, present: int, says: str) -> None:
    assert margin_notes(names(members), names(present)) == [says]


@pytest.mark.parametrize("count", [0, 3, 5, 7])
def test_a_cluster_that_survives_what_it_can_says_nothing(count: int) -> None:
    assert margin_notes(names(count), names(count)) == []


def test_who_is_seen_and_no_member_counts_for_nothing() -> None:
    """One that joins has no vote yet."""
    assert margin_notes(names(3), names(4)) == []
