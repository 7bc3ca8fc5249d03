"""Bounds of a document's fields, as its description has them.

msgspec's own constraints would refuse at the first fault and name no limit; so they are told to
readers here, and checked beside the fields' other rules, where all faults are collected. That both
say the same is for a test to see, which sends every field of the served document one more than
that (`tests/unit/gateway/test_field_walk.py`).
"""

from __future__ import annotations

from msgspec import Meta


def within(least: float, most: float) -> Meta:
    """A number. Annotations of equal bounds are one object, so 1e9 must not be there for 10**9."""
    least, most = (int(each) if each == int(each) else each for each in (least, most))
    return Meta(extra_json_schema={"minimum": least, "maximum": most})


def chars(most: int, pattern: str | None = None) -> Meta:
    """A text. Where bytes are counted, so many characters are too many whatever they are."""
    described = {"maxLength": most} | ({"pattern": pattern} if pattern else {})
    return Meta(extra_json_schema=described)


def items(least: int, most: int) -> Meta:
    """A list."""
    return Meta(extra_json_schema={"minItems": least, "maxItems": most})


def entries(most: int, pattern: str) -> Meta:
    """An object with keys of the sender's."""
    return Meta(extra_json_schema={"maxProperties": most, "propertyNames": {"pattern": pattern}})


def told(**schema: object) -> Meta:
    """Of a value that only its check knows: any type, so that one of a wrong type is refused under
    its own name; a form."""
    return Meta(extra_json_schema=schema)
