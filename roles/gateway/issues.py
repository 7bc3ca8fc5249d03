"""What is wrong with a request, told field by field.

A program that gets one fault at a time has to ask once for each; a person wants to read which
field, which limit and which value. So faults are collected, each with a JSON pointer, and raised
together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.limits import ISSUES

#: What a field held, or may hold: a number or a text.
Scalar: TypeAlias = str | int | float | bool | None
#: Characters of a value that is repeated to its sender.
GIVEN_CHARS = 100


class IssueCode(StrEnum):
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


class Issue(Struct, frozen=True, kw_only=True):
    """One fault; `limit` and `given` have the field's unit: seconds, bytes, or a count."""

    #: RFC 6901; empty for the whole document.
    pointer: str
    code: IssueCode
    #: A sentence that names the value, the limit and the next step.
    detail: str
    limit: Scalar = None
    given: Scalar = None


class Invalid(Rejected):
    """The request has fields that are not as they must be."""

    def __init__(self, issues: list[Issue]) -> None:
        first = issues[0]
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        where = f"{first.pointer}: " if first.pointer else ""
        super().__init__(f"{where}{first.detail}{more}", field=first.pointer)
        self.issues = issues


@dataclass(slots=True)
class Issues:
    """Collects the faults of one request."""

    found: list[Issue] = field(default_factory=list)

    def add(
        self,
        pointer: str,
        code: IssueCode,
        detail: str,
        *,
        limit: Scalar = None,
        given: Scalar = None,
    ) -> None:
        """Beyond the bound faults are dropped: they show when the others are repaired."""
        if len(self.found) < ISSUES:
            issue = Issue(
                pointer=pointer, code=code, detail=detail, limit=limit, given=_shorten(given)
            )
            self.found.append(issue)

    def raise_if_any(self) -> None:
        if self.found:
            raise Invalid(self.found)


def step(name: str | int) -> str:
    """One reference token of a JSON pointer."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def _shorten(given: Scalar) -> Scalar:
    if isinstance(given, str) and len(given) > GIVEN_CHARS:
        return given[:GIVEN_CHARS] + "..."
    return given
