"""What is said of outputs: verdicts, tables of cases, and the difference to what was expected."""

from __future__ import annotations

import difflib
import re

import click

from khala.client import AsyncKhala, Task
from khala.model.cases import Verdict
from khala.model.errors import NotFound
from khala.protocol.v2 import Case, CaseDiff, Difference
from roles.client import exits, tables

_HUNK = re.compile(r"^@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@$")
#: Verdicts of a case that there is nothing to compare for.
_NOT_RUN = (None, Verdict.AC, Verdict.SKIP)


def show_cases(task: Task) -> None:
    """A table on stdout."""
    rows = [
        [
            str(case.number),
            tables.plain(case.name),
            case.verdict or case.reason or "-",
            tables.duration(case.wall_ms) if case.wall_ms is not None else "-",
            tables.size(case.memory_peak_bytes) if case.memory_peak_bytes is not None else "-",
            _why(case.first_difference, case.message),
        ]
        for case in task.cases
    ]
    tables.show_table(["CASE", "NAME", "VERDICT", "TIME", "MEMORY", ""], rows)


def sentence_of(task: Task) -> str:
    """`verdict WA, 1 of 10 points: case 2 "big": line 17: expected "42", got "41"`."""
    score = f", {task.score.got:g} of {task.score.of} points" if task.score else ""
    decisive = next((case for case in task.cases if case.verdict == task.verdict), None)
    if task.verdict is Verdict.AC:
        return f"verdict AC{score}"
    if decisive is None:
        why = _why(task.first_difference, None)
    else:
        why = _why(decisive.first_difference, decisive.message)
        named = f'case {decisive.number} "{tables.plain(decisive.name)}"'
        why = f"{named}: {why}" if why else named
    return f"verdict {task.verdict}{score}" + (f": {why}" if why else "")


def _why(difference: Difference | None, message: str | None) -> str:
    if difference is None:
        return tables.plain(message or "")
    expected = _quoted(difference.expected, "nothing more")
    actual = _quoted(difference.actual, "nothing")
    return f"line {difference.line}: expected {expected}, got {actual}"


def _quoted(text: str | None, nothing: str) -> str:
    if text is None:
        return nothing
    shown = tables.plain(text.rstrip("\n"))
    return f'"{shown}"'


async def show_diff(khala: AsyncKhala, task: Task, number: int | None) -> int:
    """As `diff -u` shows it; 0 if there is nothing to show, else 1."""
    if not task.cases and number is not None:
        raise NotFound(f"--case: task {task.id} has no cases; leave it out")
    if task.cases:
        chosen = number or _first_failed(task.cases)
        if chosen is None:
            click.echo(f"khala: {task.id} has no case that was not accepted", err=True)
            return 0
        return _show_case_diff(await khala.diff_case(task.id, chosen))
    result = task.stages.execute.result
    if task.check is None or result is None:
        raise NotFound(f"nothing was expected of task {task.id}, or it wrote nothing")
    expected, actual = task.inputs.execute_standard, result.stdout
    compared = len(expected.text.encode()) + len(actual.text.encode())
    lines = unified(expected.text, actual.text, "")
    return _show(lines, task.first_difference, whole=compared >= expected.size + actual.kept)


def _show_case_diff(found: CaseDiff) -> int:
    lines = unified(
        found.expected.text,
        found.actual.text,
        f" of case {found.number}",
        skipped=(found.line or 1) - 1,
    )
    whole = not (found.expected.more or found.actual.more)
    return _show(lines, found.first_difference, whole=whole)


def _show(lines: list[str], difference: Difference | None, *, whole: bool) -> int:
    for line in lines:
        click.echo(tables.plain(line))
    if difference is not None:
        click.echo(f"khala: the first difference: {_why(difference, None)}", err=True)
    if not whole:
        click.echo("khala: the texts go on; what is above is not all of them", err=True)
    return exits.FAILED if lines or difference else 0


def unified(expected: str, actual: str, where: str, *, skipped: int = 0) -> list[str]:
    """The lines of `diff -u`; `skipped` equal ones stand before these texts."""
    names = (f"expected{where}", f"stdout{where}")
    lines = difflib.unified_diff(expected.splitlines(), actual.splitlines(), *names, lineterm="")
    return [_HUNK.sub(lambda found: _shifted(found, skipped), line) for line in lines]


def _shifted(found: re.Match[str], by: int) -> str:
    first, mine, second, theirs = found.groups(default="")
    return f"@@ -{int(first) + by}{mine} +{int(second) + by}{theirs} @@"


def _first_failed(cases: list[Case]) -> int | None:
    return next((case.number for case in cases if case.verdict not in _NOT_RUN), None)
