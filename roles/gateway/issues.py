"""What is wrong with a request, told field by field.

A program that gets one fault at a time has to ask once for each; a person wants to read which
field, which limit and which value. So faults are collected, each with a JSON pointer, and raised
together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from khala.model.errors import Rejected
from khala.model.limits import ISSUES
from khala.protocol.v2 import Issue, IssueCode, Scalar

#: Characters of a value that is repeated to its sender.
GIVEN_CHARS = 100


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
        given: object = None,
    ) -> None:
        """Of what is given, scalars are repeated. Beyond the bound faults are dropped: they show
        when the others are repaired."""
        if len(self.found) < ISSUES:
            issue = Issue(
                pointer=pointer, code=code, detail=detail, limit=limit, given=scalar_of(given)
            )
            self.found.append(issue)

    def raise_if_any(self, pointer: str = "") -> None:
        """`pointer`: where what was looked at stands in its document."""
        if self.found:
            raise Invalid([replace(each, pointer=pointer + each.pointer) for each in self.found])


def step(name: str | int) -> str:
    """One reference token of a JSON pointer."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def scalar_of(given: object) -> Scalar:
    """As it is repeated to its sender: short, and None for what is a document itself."""
    if isinstance(given, str) and len(given) > GIVEN_CHARS:
        return given[:GIVEN_CHARS] + "..."
    return given if isinstance(given, str | int | float | bool) else None
