"""What is written must be read back as it was, by YAML's own rules."""

from __future__ import annotations

import pytest
import yaml as reader
from hypothesis import given
from hypothesis import strategies as st

from roles.client import yaml

_TEXTS = st.text(st.characters(codec="utf-8"))
_DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner),
    max_leaves=12,
)


@given(_DOCUMENTS)
def test_is_read_back_as_it_was(document: object) -> None:
    assert reader.safe_load(yaml.dump(document)) == document


@pytest.mark.parametrize(
    "text", ["no", "NULL", "1", "1e3", "2026-11-24", "", " a", "a: b", "- a", "#", "~", "a\nb", "é"]
)
def test_texts_with_a_meaning_stay_texts(text: str) -> None:
    assert reader.safe_load(yaml.dump({"key": text})) == {"key": text}


def test_is_laid_out_for_people() -> None:
    document = {"id": "a", "stages": {"run": {"exit": 0}}, "cases": [{"n": 1, "v": "AC"}], "x": []}
    assert yaml.dump(document).splitlines() == [
        "id: a",
        "stages:",
        "  run:",
        "    exit: 0",
        "cases:",
        '- "n": 1',
        "  v: AC",
        "x: []",
    ]
