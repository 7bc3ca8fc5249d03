"""Answers as people and programs want them: a table, JSON, JSON lines, or names alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

import click
import msgspec
from msgspec import Struct

from khala.client import Row
from khala.model.errors import Rejected
from roles.client import yaml
from roles.lines import date, plain, show_table

#: Those of operators' commands; here beside the others.
__all__ = ["date", "plain", "show_table"]


class Form(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"
    NAME = "name"


#: Forms that show a whole document of each.
DOCUMENTS = (Form.JSON, Form.JSONL, Form.YAML)

Cell: TypeAlias = Callable[[Row], str]
_COLUMNS: dict[str, Cell] = {
    "ID": lambda row: row.id,
    "NAME": lambda row: plain(row.name) or "-",
    "STATE": lambda row: row.state,
    "REASON": lambda row: row.reason or "-",
    "USER": lambda row: str(row.user),
    "AGE": lambda row: age(row.created_at),
}
#: Where a list is shown in the place of the one before.
CLEAR = "\x1b[H\x1b[2J"
_WIDE: dict[str, Cell] = {
    "ATTEMPT": lambda row: str(row.attempt),
    "HELD": lambda row: "held" if row.held else "-",
    "EXECUTOR": lambda row: row.executor or "-",
    "CREATED": lambda row: date(row.created_at),
}
#: Shown when they are asked for.
_MORE: dict[str, Cell] = {
    "PRIORITY": lambda row: str(row.priority),
    "VERDICT": lambda row: row.verdict or "-",
    "SCORE": lambda row: f"{row.score.got:g}/{row.score.of}" if row.score else "-",
    "JOB": lambda row: row.job.id if row.job else "-",
    "INDEX": lambda row: str(row.job.index) if row.job else "-",
    "UPDATED": lambda row: date(row.updated_at),
    "FINISHED": lambda row: date(row.finished_at) if row.finished_at else "-",
}
_ALL = _COLUMNS | _WIDE | _MORE
_SHOWN_BY = {"finished_at": "FINISHED", "priority": "PRIORITY"}
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def columns_of(text: str | None, form: Form, sort: str | None = None) -> list[str]:
    """The names in `--columns`, or those that the form has, and what the list is ordered by. Raises
    Rejected."""
    if text is None:
        by = [_SHOWN_BY[sort]] if sort in _SHOWN_BY else []
        return [*_COLUMNS, *(_WIDE if form is Form.WIDE else ()), *by]
    if form not in (Form.TABLE, Form.WIDE):
        raise Rejected(
            f"--columns: a table has columns, -o {form} has none; leave out one of them",
            field="--columns",
        )
    names = [name.strip().upper() for name in text.split(",")]
    for name in names:
        if name not in _ALL:
            raise Rejected(
                f"--columns: {name.lower()[:40]!r} is none; there are {', '.join(_ALL).lower()}",
                field="--columns",
            )
    return names


def show_rows(
    rows: Sequence[Row], form: Form, columns: Sequence[str], *, head: bool = True
) -> None:
    """A list of tasks on stdout."""
    if form is Form.NAME:
        for row in rows:
            click.echo(row.id)
    elif form in DOCUMENTS:
        show_structs(rows, form)
    else:
        lines = [[_ALL[name](row) for name in columns] for row in rows]
        show_table(list(columns) if head else None, lines)


def show_structs(items: Sequence[Struct], form: Form) -> None:
    """Each as its document: one list in JSON or YAML, or one line of JSON each."""
    if form is Form.JSONL:
        for item in items:
            click.echo(msgspec.json.encode(item).decode())
    elif form is Form.YAML:
        click.echo(yaml.dump(msgspec.json.decode(msgspec.json.encode(list(items)))), nl=False)
    else:
        click.echo(msgspec.json.format(msgspec.json.encode(list(items)), indent=2).decode())


def show_lines(**lines: str) -> None:
    """What is known of one thing, for people."""
    for name, text in lines.items():
        click.echo(f"{name:<11}{plain(text) or '-'}")


def age(moment: datetime) -> str:
    return span((datetime.now(UTC) - moment).total_seconds())


def span(seconds: float) -> str:
    """`37s`, `12m`, `3h`, `9d`."""
    whole = max(0, int(seconds))
    for step, letter in _STEPS:
        if whole >= step:
            return f"{whole // step}{letter}"
    return f"{whole}s"


def duration(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"


def size(count: int) -> str:
    for step, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} B"
