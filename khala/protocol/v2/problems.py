"""Refusals and failures: problem documents (RFC 9457), and the faults of a document one by one."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

#: What a field held, or may hold: a number or a text.
Scalar: TypeAlias = str | int | float | bool | None


class IssueCode(StrEnum):
    """What is wrong with one field; a closed list."""

    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    INVALID_VALUE = "invalid_value"
    BELOW_MINIMUM = "below_minimum"
    ABOVE_MAXIMUM = "above_maximum"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"
    DUPLICATE = "duplicate"
    UNUSED_PART = "unused_part"
    NO_SUCH_BLOB = "no_such_blob"


class Issue(Struct, frozen=True, kw_only=True):
    """One fault; `limit` and `given` have the field's unit: seconds, bytes, or a count."""

    #: RFC 6901; empty for the whole document.
    pointer: str
    code: IssueCode
    #: A sentence that names the value, the limit and the next step.
    detail: str
    limit: Scalar = None
    given: Scalar = None


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """application/problem+json (RFC 9457)."""

    title: str
    status: int
    #: A word for programs. A client meets words that it does not know: the status is its family.
    code: str
    #: A sentence for people.
    detail: str
    #: The parameter or header to blame, if it is one.
    field: str | None = None
    #: What is wrong with a document, field by field.
    errors: list[Issue] = []
    #: Where the code is described.
    type: str = ""
