"""What cannot be decoded is said in words of the document, whatever the decoder says of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from khala.model.decoding import needed, refusal, shown


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        (int, '"7"', "a whole number"),
        (int, "1.5", "a whole number"),
        (int | None, '"7"', "a whole number or null"),
        (int | float | str | None, "[]", "a number, a text or null"),
        (float, "true", "a number"),
        (str, "null", "a text"),
        (bool, '"yes"', "true or false"),
        (list[int], "{}", "a list"),
        (dict[str, int], '{"a": "b"}', "a whole number"),
        (dict[str, Any] | list[Any], "7", "an object or a list"),
        (datetime, '"soon"', "a date such as 2026-11-24T00:04:08Z"),
        (Annotated[int, Meta(ge=1)], "0", "a whole number of at least 1"),
        (Annotated[int, Meta(le=500)], "501", "a whole number of at most 500"),
        (Annotated[str, Meta(min_length=1)], '""', "a text of at least 1 character"),
        (Annotated[str, Meta(max_length=3)], '"long"', "a text of at most 3 characters"),
        (Annotated[list[int], Meta(max_length=2)], "[1,2,3]", "a list of at most 2 items"),
        (Annotated[str, Meta(pattern="^[0-9]+$")], '"x"', "a text of the form '^[0-9]+$'"),
    ],
)
def test_what_is_needed(kind: Any, text: str, wanted: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(text, type=kind)
    assert needed(str(refused.value)) == wanted
    assert refusal(refused.value, text) == f"{wanted} is needed"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ('{"a"', "it ends, or an escape in it does, before it is complete"),
        ('{"a": "\\ud800"}', "it ends, or an escape in it does, before it is complete"),
        ("{a: 1}", "object keys must be strings (byte 1)"),
        ('{"a": 1} x', "trailing characters (byte 10)"),
        ('{"a": 1e999}', "number out of range"),
    ],
)
def test_why_a_text_is_no_json(text: str, why: str) -> None:
    with pytest.raises(msgspec.DecodeError) as refused:
        msgspec.json.decode(text)
    assert refusal(refused.value, text) == why


def test_what_was_given_is_shown_as_json_has_it() -> None:
    given = ["it's", True, None, 1.5, [1], {"a": 1}]
    assert [*map(shown, given)] == ['"it\'s"', "true", "null", "1.5", "a list", "an object"]
