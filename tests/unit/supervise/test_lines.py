"""Cutting a child's output into lines, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from khala.supervise.lines import LINE_BYTES, LINES_BURST, LINES_PER_S, Lines


@given(st.text(alphabet="ab\n", max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_lines_do_not_depend_on_how_they_arrive(text: str, cuts: list[int]) -> None:
    lines, got, start = Lines(0.0), [], 0
    for cut in [*sorted(cuts), len(text)]:
        got += lines.feed(text[start:cut].encode(), 0.0)
        start = max(start, cut)
    got += lines.close(0.0)
    assert got == [line for line in text.split("\n") if line]


def test_a_long_line_is_cut_and_the_next_is_whole() -> None:
    lines = Lines(0.0)
    got: list[str] = []
    for _ in range(100):
        got += lines.feed(b"x" * 1024, 0.0)
    got += lines.feed(b"\nnext\n", 0.0)
    assert got == ["x" * LINE_BYTES + " ...", "next"]


def test_a_line_of_the_longest_length_is_whole() -> None:
    assert Lines(0.0).feed(b"x" * LINE_BYTES + b"\n", 0.0) == ["x" * LINE_BYTES]


def test_a_flood_is_counted_instead_of_told() -> None:
    lines = Lines(0.0)
    told = lines.feed(b"spam\n" * 5000, 0.0)
    assert len(told) == LINES_BURST
    assert lines.feed(b"spam\n", 0.0) == []
    dropped = 5001 - int(LINES_BURST)
    assert lines.feed(b"after\n", 1.0) == [f"{dropped} lines dropped", "after"]
    assert len(lines.feed(b"spam\n" * 5000, 1.0)) == LINES_PER_S - 1


def test_the_last_count_is_told_at_the_end() -> None:
    lines = Lines(0.0)
    lines.feed(b"spam\n" * (int(LINES_BURST) + 7), 0.0)
    assert lines.close(0.0) == ["7 lines dropped"]


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert Lines(0.0).feed(b"a\xffb\n", 0.0) == ["a\ufffdb"]
