"""Cases of a task, and what is said of an output: verdicts, differences, score.

One program, many inputs: a task with cases is compiled once, and its execute stage runs once for
each case. A verdict says whether an output was right; it is independent of the task's state and
reason, which say whether the program came to an end. Exit code 0 with a wrong answer is
`succeeded`, `ok` and `WA`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """From the best to the worst, by how far the program got from giving an answer: of several
    cases, the worst is the task's."""

    #: The output is what was expected.
    AC = "AC"
    #: Not run: a case before it failed, or the compile stage did.
    SKIP = "SKIP"
    #: The right words, but not in the form that was asked for.
    PE = "PE"
    WA = "WA"
    #: More output, or a larger file, than the limit.
    OLE = "OLE"
    #: Wall time or processor time.
    TLE = "TLE"
    MLE = "MLE"
    #: Any other end than exit code 0.
    RE = "RE"
    #: The compile stage did not succeed.
    CE = "CE"
    #: The check itself failed: nobody knows whether the output is right.
    IE = "IE"


_SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of at least one."""
    return max(verdicts, key=_SEVERITY.__getitem__)


class CheckMode(StrEnum):
    """What counts as the same."""

    #: Every byte.
    EXACT = "exact"
    #: Every line, but for white space at its end and empty lines at the end of the output.
    LINES = "lines"
    #: The words, whatever white space is between them.
    TOKENS = "tokens"
    #: The words; numbers may differ by a tolerance.
    FLOAT = "float"
    #: What is expected is a pattern for the whole output.
    REGEX = "regex"
    #: A program of the task decides.
    PROGRAM = "program"


class Check(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How outputs are judged. The program of mode `program` is among the task's parts."""

    mode: CheckMode = CheckMode.TOKENS
    #: Of mode `float`: a number is right if it is near enough by one of them.
    absolute: float = 0.0
    relative: float = 0.0


class Case(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input. Its bytes stand in the part `cases`: those of all cases one behind the other,
    of each first the input, then what is expected."""

    name: str
    stdin_bytes: int = 0
    expect_bytes: int = 0
    weight: int = 1


class Span(Struct, frozen=True):
    """Where some bytes stand in a longer sequence of them."""

    first: int
    size_bytes: int


def stdin_span(cases: Sequence[Case], number: int) -> Span:
    """Of the input of case `number`, from 1, in the part `cases`."""
    return Span(_before(cases, number), cases[number - 1].stdin_bytes)


def expected_span(cases: Sequence[Case], number: int) -> Span:
    case = cases[number - 1]
    return Span(_before(cases, number) + case.stdin_bytes, case.expect_bytes)


def _before(cases: Sequence[Case], number: int) -> int:
    return sum(case.stdin_bytes + case.expect_bytes for case in cases[: number - 1])


class Difference(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first place where an output is not as expected; texts are cut for showing."""

    #: Of the expected output, or of the actual one where nothing more was expected.
    line: int
    #: None where that output was at its end.
    expected: str | None = None
    actual: str | None = None


class Judgement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of one output."""

    verdict: Verdict
    difference: Difference | None = None
    #: Of the case's weight, where its checker gave a part of it.
    points: float | None = None
    #: What the checker said, or why there is no better verdict.
    note: str | None = None


class Score(Struct, frozen=True, kw_only=True):
    """Points of all cases, and what they could have been."""

    got: float
    of: int
