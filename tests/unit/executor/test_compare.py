"""What counts as the same output, mode by mode; and the same answer however it is read."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from khala.model.cases import Check, CheckMode, Difference, Judgement, Verdict
from khala.model.limits import CASE_TEXT_BYTES
from roles.executor import compare
from roles.executor.compare import Comparison, Stopped, cut_text

AC, PE, WA = Verdict.AC, Verdict.PE, Verdict.WA


def judge(expected: bytes, actual: bytes, mode: str = "tokens", **check: float) -> Judgement:
    wanted = Check(mode=CheckMode(mode), **check)
    return Comparison(wanted, io.BytesIO(expected), io.BytesIO(actual)).judge()


def verdict(expected: bytes, actual: bytes, mode: str = "tokens", **check: float) -> Verdict:
    return judge(expected, actual, mode, **check).verdict


@pytest.fixture(params=[(7, 3), (64, 16), (262144, 65536)])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that every border is met."""
    block, unit = request.param
    monkeypatch.setattr(compare, "_BLOCK_BYTES", block)
    monkeypatch.setattr(compare, "_UNIT_BYTES", unit)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize(
    ("expected", "actual", "exact", "lines", "tokens"),
    [
        (b"", b"", AC, AC, AC),
        (b"1 2\n3\n", b"1 2\n3\n", AC, AC, AC),
        (b"1 2\n3\n", b"1 2\n3", PE, AC, AC),
        (b"1 2\n3\n", b"1 2\r\n3\r\n", PE, AC, AC),
        (b"1 2\n3\n", b"1 2 \t\n3  \n\n\n", PE, AC, AC),
        (b"1 2\n3\n", b"1 2\n\n3\n", PE, PE, AC),
        (b"1 2\n3\n", b"1  2\n3\n", PE, PE, AC),
        (b"1 2\n3\n", b" 1 2\n3\n", PE, PE, AC),
        (b"1 2\n3\n", b"1 2 3\n", PE, PE, AC),
        (b"1 2\n3\n", b"12\n3\n", WA, WA, WA),
        (b"1 2\n3\n", b"1 2\n", WA, WA, WA),
        (b"1 2\n3\n", b"1 2\n3 4\n", WA, WA, WA),
        (b"1 2\n3\n", b"", WA, WA, WA),
        (b"", b"\n\n  \n", PE, AC, AC),
        (b"", b"x", WA, WA, WA),
        (b"yes\n", b"Yes\n", WA, WA, WA),
        (b"a\0b\n", b"a\0c\n", WA, WA, WA),
        (b"a\0b\n", b"a b\n", WA, WA, WA),
        (b"\xff\xfe\n", b"\xff\xfe", PE, AC, AC),
        (b"a" * 200, b"a" * 200, AC, AC, AC),
        (b"a" * 200 + b"\n", b"a" * 200 + b" " * 200, PE, AC, AC),
        (b"a" * 199, b"a" * 200, WA, WA, WA),
        (b"a" * 100 + b" " * 99 + b"b", b"a" * 100 + b" " * 100 + b"b", PE, PE, AC),
        (b" " * 100 + b"b", b" " * 99 + b"\tb", PE, PE, AC),
    ],
)
def test_modes(
    expected: bytes, actual: bytes, exact: Verdict, lines: Verdict, tokens: Verdict
) -> None:
    for mode, wanted in (("exact", exact), ("lines", lines), ("tokens", tokens)):
        assert verdict(expected, actual, mode) is wanted, mode
    assert verdict(expected, actual, "float", absolute=1e-9) is tokens


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance", "wanted"),
    [
        (b"1", b"1.0", {}, AC),
        (b"1.5", b"1.5000001", {"absolute": 1e-6}, AC),
        (b"1.5", b"1.50001", {"absolute": 1e-6}, WA),
        (b"1000000", b"1000000.5", {"relative": 1e-6}, AC),
        (b"1000000", b"1000001.5", {"relative": 1e-6}, WA),
        (b"0", b"1e-9", {"relative": 1e-6}, WA),
        (b"0", b"-0.0", {"relative": 1e-6}, AC),
        (b"1e3", b"1000", {}, AC),
        (b"+5", b"5.", {}, AC),
        (b".5", b"0.5", {}, AC),
        (b"nan", b"-NaN", {}, AC),
        (b"nan", b"1", {"absolute": 1e300}, WA),
        (b"1", b"nan", {"absolute": 1e300}, WA),
        (b"inf", b"Infinity", {}, AC),
        (b"inf", b"-inf", {"absolute": 1e300, "relative": 1e9}, WA),
        (b"inf", b"1e308", {"absolute": 1e300, "relative": 1e9}, WA),
        (b"1e308", b"-1e308", {"relative": 1e9}, WA),
        # Too large to be told apart: as words.
        (b"1e400", b"1e401", {"absolute": 1.0}, WA),
        (b"1e400", b"1e400", {}, AC),
        # No numbers here, whatever Python takes for one.
        (b"1_000", b"1000", {}, WA),
        ("\u0661".encode(), b"1", {}, WA),
        (b"0x10", b"16", {}, WA),
        (b"1e", b"1", {"absolute": 1.0}, WA),
        (b"word", b"word", {}, AC),
        (b"word", b"Word", {"absolute": 9.0}, WA),
        (b"1.0 x 2.0", b"1.05 x 1.95\n", {"absolute": 0.1}, AC),
        (b"1.0 x 2.0", b"1.05 y 1.95\n", {"absolute": 0.1}, WA),
        (b"1" * 2000, b"1" * 2000 + b".0", {}, WA),
    ],
)
def test_numbers(
    expected: bytes, actual: bytes, tolerance: dict[str, float], wanted: Verdict
) -> None:
    assert verdict(expected, actual, "float", **tolerance) is wanted


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize(
    ("mode", "expected", "actual", "difference"),
    [
        ("tokens", b"1\n2\n3\n", b"1\n2\n4\n", Difference(line=3, expected="3", actual="4")),
        ("tokens", b"1\n\n2 3\n", b"1 2 4", Difference(line=3, expected="3", actual="4")),
        ("tokens", b"1\n2\n", b"1\n", Difference(line=2, expected="2")),
        ("tokens", b"1\n", b"1\n\n2\n", Difference(line=3, actual="2")),
        ("lines", b"a b\nc\n", b"a b\nc d \n", Difference(line=2, expected="c", actual="c d")),
        ("lines", b"a\nb\n", b"a\n\nb\n", Difference(line=2, expected="b", actual="")),
        ("lines", b"a\n\n\nb\n", b"a\nb\n", Difference(line=4, expected="", actual="b")),
        ("lines", b"a\n", b"a\nb\n", Difference(line=2, actual="b")),
        ("float", b"1 2\n", b"1 2.5\n", Difference(line=1, expected="2", actual="2.5")),
    ],
)
def test_the_first_difference(
    mode: str, expected: bytes, actual: bytes, difference: Difference
) -> None:
    assert judge(expected, actual, mode).difference == difference


def test_the_first_differing_byte() -> None:
    assert judge(b"a\nb\n", b"a\nb", "exact").difference == Difference(
        line=2, expected="b\n", actual="b"
    )
    assert judge(b"a\n", b"a\nb\n", "exact").difference == Difference(line=2, actual="b\n")
    assert judge(b"a\nxyz\nc", b"a\nxyZ\nc", "exact").difference == Difference(
        line=2, expected="xyz\n", actual="xyZ\n"
    )


def test_what_is_shown_is_short_and_has_the_difference_in_it() -> None:
    for mode in ("tokens", "lines", "exact"):
        found = judge(b"x" * 5000 + b"123", b"x" * 5000 + b"\xff\xff" * 3000, mode).difference
        assert found is not None and found.expected is not None and found.actual is not None
        assert found.expected.startswith("xxx") and found.expected.endswith("123")
        assert "\N{REPLACEMENT CHARACTER}" in found.actual
        for text in (found.expected, found.actual):
            assert len(text.encode()) <= CASE_TEXT_BYTES


def test_texts_are_cut_between_characters() -> None:
    assert cut_text("ä€😀".encode() * 9, 10) == "ä€😀"
    assert cut_text(b"\xff" * 9, 9) == "\N{REPLACEMENT CHARACTER}" * 3
    assert cut_text(b"a\0b", 80) == "a\0b"


def test_it_stops_when_nobody_waits() -> None:
    files = io.BytesIO(b"a" * 10), io.BytesIO(b"b" * 10)
    with pytest.raises(Stopped):
        Comparison(Check(), *files, stopped=lambda: True).judge()


# ---- against the plainest implementation -------------------------------------------------------

_WRITING = st.lists(
    st.sampled_from([b" ", b"  ", b"\t", b"\n", b"\n\n", b"\r\n", b"a", b"bb", b"1", b"1.5", b"\0",
                     b"\xff", b"c" * 9, b" " * 9, b"\n" * 9]),
    max_size=12,
).map(b"".join)  # fmt: skip


def _plain_lines(data: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in data.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


@contextmanager
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "_BLOCK_BYTES", 5)
        patch.setattr(compare, "_UNIT_BYTES", 3)
        yield


@small_blocks()
@given(expected=_WRITING, actual=_WRITING)
@example(expected=b"   a", actual=b"    a")
@example(expected=b"abc   d", actual=b"abc   d   \n\n")
def test_any_two_outputs(expected: bytes, actual: bytes) -> None:
    same_words = expected.split() == actual.split()
    assert (verdict(expected, actual, "tokens") is AC) == same_words
    same_lines = _plain_lines(expected) == _plain_lines(actual)
    wanted = AC if same_lines else PE if same_words else WA
    assert verdict(expected, actual, "lines") is wanted
    wanted = AC if expected == actual else PE if same_words else WA
    assert verdict(expected, actual, "exact") is wanted


@small_blocks()
@given(data=_WRITING, tail=st.sampled_from([b"", b" ", b"\n", b" \t\r\n  \n"]))
def test_trailing_white_space_never_matters(data: bytes, tail: bytes) -> None:
    for mode in ("lines", "tokens", "float"):
        assert verdict(data, data + tail, mode) is AC
        assert verdict(data.replace(b"\n", b"\r\n"), data, mode) is AC


@given(
    number=st.floats(allow_nan=True, allow_infinity=True),
    other=st.floats(allow_nan=True, allow_infinity=True),
    tolerance=st.sampled_from([0.0, 1e-9, 1e-6, 1.0]),
)
def test_any_two_numbers(number: float, other: float, tolerance: float) -> None:
    right = (
        number == other
        or (math.isnan(number) and math.isnan(other))
        or (
            math.isfinite(number)
            and math.isfinite(other)
            and abs(number - other) <= max(tolerance, tolerance * abs(number))
        )
    )
    found = verdict(
        repr(number).encode(),
        repr(other).encode(),
        "float",
        absolute=tolerance,
        relative=tolerance,
    )
    assert (found is AC) == right


@small_blocks()
@given(
    before=st.lists(st.sampled_from([b"1", b"22", b"\n", b" "]), max_size=20).map(b"".join),
    expected=st.sampled_from([b"7", b"77"]),
    actual=st.sampled_from([b"8", b"88"]),
)
def test_the_line_is_that_of_the_difference(before: bytes, expected: bytes, actual: bytes) -> None:
    found = judge(before + b" " + expected, before + b" " + actual).difference
    assert found == Difference(
        line=before.count(b"\n") + 1, expected=expected.decode(), actual=actual.decode()
    )
    lined = judge(before + b"\n" + expected, before + b"\n" + actual, "lines").difference
    assert lined is not None and re.fullmatch(r"7+", lined.expected or "")
    assert lined.line == before.count(b"\n") + 2
