"""What is said of outputs: verdicts, tables of cases, and the difference to what was expected."""

from __future__ import annotations

import difflib

import click

from khala.client import AsyncKhala, Task
from khala.model.cases import Verdict
from khala.model.errors import NotFound
from khala.protocol.v2 import Case, Difference
from roles.client import exits, tables

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
    if task.cases:
        chosen = number or _first_failed(task.cases)
        if chosen is None:
            click.echo(f"khala: {task.id} has no case that was not accepted", err=True)
            return 0
        detail = await khala.get_case(task.id, chosen)
        if detail.expected is None:
            raise NotFound(f"nothing is expected of the cases of task {task.id}")
        expected, actual = detail.expected.text, detail.stdout.text
        whole = detail.expected.size + detail.stdout.size
        where = f" of case {chosen}"
    else:
        result = task.stages.execute.result
        if task.check is None or result is None:
            raise NotFound(f"nothing was expected of task {task.id}, or it wrote nothing")
        expected, actual = task.inputs.execute_standard.text, result.stdout.text
        whole = task.inputs.execute_standard.size + result.stdout.kept
        where = ""
    names = (f"expected{where}", f"stdout{where}")
    lines = difflib.unified_diff(expected.splitlines(), actual.splitlines(), *names, lineterm="")
    found = False
    for line in lines:
        click.echo(tables.plain(line))
        found = True
    if len(expected.encode()) + len(actual.encode()) < whole:
        click.echo("khala: the beginnings were compared; the texts are longer", err=True)
    return exits.FAILED if found else 0


def _first_failed(cases: list[Case]) -> int | None:
    return next((case.number for case in cases if case.verdict not in _NOT_RUN), None)
