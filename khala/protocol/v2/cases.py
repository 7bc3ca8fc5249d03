"""The cases of a task, and what is said of outputs."""

from __future__ import annotations

from msgspec import Struct

from khala.model.cases import CheckMode, Verdict
from khala.model.outcome import Reason


class Difference(Struct, frozen=True, kw_only=True):
    """The first place where an output is not as expected; long texts are cut."""

    #: Of the expected output; of the actual one where nothing more was expected.
    line: int
    #: Null where that output was at its end.
    expected: str | None
    actual: str | None


class Score(Struct, frozen=True, kw_only=True):
    """The weights of the accepted cases, and of all."""

    got: int | float
    of: int


class Check(Struct, frozen=True, kw_only=True):
    """How outputs are judged."""

    mode: CheckMode
    #: The tolerances of mode "float".
    absolute: float | None = None
    relative: float | None = None


class CaseOutput(Struct, frozen=True, kw_only=True):
    """One output of a case: how much was written, as far as that is known, and kept."""

    size: int
    kept: int


class Case(Struct, frozen=True, kw_only=True):
    """One input of a task, and what came of it."""

    #: From 1.
    number: int
    name: str
    weight: int
    #: Null until the task is done, and where nothing is expected.
    verdict: Verdict | None = None
    #: How the program ended; null if it was not run.
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None
    #: In the unit of the reason.
    limit: int | None = None
    observed: int | None = None
    wall_ms: int | None = None
    cpu_ms: int | None = None
    memory_peak_bytes: int | None = None
    #: One sentence for people.
    message: str | None = None
    first_difference: Difference | None = None
    stdout: CaseOutput | None = None
    stderr: CaseOutput | None = None


class Cases(Struct, frozen=True, kw_only=True):
    """All cases of a task."""

    items: list[Case]
    check: Check | None
    verdict: Verdict | None
    score: Score | None


class Excerpt(Struct, frozen=True, kw_only=True):
    """A part of a text, from the line of a difference on and some lines before it."""

    text: str
    #: The text goes on behind it.
    more: bool
    #: Bytes of the whole.
    size: int


class CaseDiff(Struct, frozen=True, kw_only=True):
    """What was expected of a case beside what it wrote."""

    number: int
    name: str
    verdict: Verdict | None
    #: As the check found it; null where it finds none, or is a program or a pattern.
    first_difference: Difference | None
    #: The line, from 1, that both excerpts begin with: what stands before it is the same. Null if
    #: everything is, as far as it is kept.
    line: int | None
    expected: Excerpt
    actual: Excerpt
