"""Values as people write them, and as one process hands them to another."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khala.config.values import Kind, Value, parse, show


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.SIZE, "256MiB", 256 << 20),
        (Kind.SIZE, "256M", 256 << 20),
        (Kind.SIZE, "1.5GiB", 3 << 29),
        (Kind.SIZE, " 2 TiB ", 2 << 40),
        (Kind.SIZE, "4096", 4096),
        (Kind.SIZE, 4096, 4096),
        (Kind.SECONDS, "2s", 2.0),
        (Kind.SECONDS, "500ms", 0.5),
        (Kind.SECONDS, "1.5h", 5400.0),
        (Kind.SECONDS, 3, 3.0),
        (Kind.NUMBER, "0.25", 0.25),
        (Kind.INT, "-3", -3),
        (Kind.LIST, "a:1, b:2,", ("a:1", "b:2")),
        (Kind.LIST, ["a:1", "b:2,c:3"], ("a:1", "b:2", "c:3")),
        (Kind.LIST, "", ()),
        (Kind.SWITCH, "yes", True),
        (Kind.SWITCH, " On ", True),
        (Kind.SWITCH, True, True),
        (Kind.SWITCH, "0", False),
        (Kind.LIST, r"/a\,b,/c\\,/d\:e", ("/a,b", "/c\\", r"/d\:e")),
        (Kind.PATH, "~/x", os.path.expanduser("~/x")),
        (Kind.PATH, "x/../y", os.path.abspath("y")),
    ],
)
def test_a_value_is_read(kind: Kind, text: object, value: Value) -> None:
    assert parse(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.SIZE, "12 parsecs"),
        (Kind.SIZE, "-1"),
        (Kind.SIZE, "1e9"),
        (Kind.SIZE, "9" * 400 + "GiB"),
        (Kind.SIZE, "9" * 400 + ".5GiB"),
        (Kind.SECONDS, "soon"),
        (Kind.SECONDS, "inf"),
        (Kind.NUMBER, "nan"),
        (Kind.NUMBER, "inf"),
        (Kind.NUMBER, ""),
        (Kind.INT, "2.5"),
        (Kind.INT, 2.5),
        (Kind.INT, True),
        (Kind.INT, "9" * 5000),
        (Kind.PORT, [4000]),
        (Kind.LIST, [1, 2]),
        (Kind.LIST, 7),
        (Kind.SWITCH, "perhaps"),
        (Kind.SWITCH, ""),
        (Kind.PATH, ""),
        (Kind.PATH, "/a\0b"),
        (Kind.TEXT, "two\nlines"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Kind, text: object) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse(kind, text)


def test_values_are_shown_in_the_largest_unit() -> None:
    assert show(Kind.SECONDS, 86400.0) == "1d"
    assert show(Kind.SECONDS, 5400.0) == "90m"
    assert show(Kind.SECONDS, 0.25) == "0.25s"
    assert show(Kind.SIZE, 3 << 29) == "1536MiB"
    assert show(Kind.SIZE, 0) == "0"
    assert show(Kind.NUMBER, 1.0) == "1"
    assert show(Kind.LIST, ("a", "b")) == "a,b"
    assert show(Kind.PATH, None) == ""


@given(st.sampled_from([Kind.SECONDS, Kind.NUMBER]), st.integers(0, 31_536_000_000))
def test_a_duration_survives_being_handed_on(kind: Kind, thousandths: int) -> None:
    value = parse(kind, f"{thousandths / 1000:.3f}")
    assert parse(kind, show(kind, value)) == value


@given(st.lists(st.text(alphabet="ab,\\ :/=é")))
def test_a_list_survives_being_handed_on(items: list[str]) -> None:
    kept = tuple(item.strip() for item in items if item.strip())
    assert parse(Kind.LIST, show(Kind.LIST, kept)) == kept


@given(st.integers(0, 1 << 50))
def test_a_size_survives_being_handed_on(size: int) -> None:
    assert parse(Kind.SIZE, show(Kind.SIZE, size)) == size


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for kind in Kind:
        try:
            value = parse(kind, text)
        except ValueError:
            continue
        assert parse(kind, show(kind, value)) == value
