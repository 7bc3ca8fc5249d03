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
from roles.client import yaml


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
_WIDE: dict[str, Cell] = {
    "ATTEMPT": lambda row: str(row.attempt),
    "EXECUTOR": lambda row: row.executor or "-",
    "CREATED": lambda row: row.created_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
}
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def show_rows(rows: Sequence[Row], form: Form) -> None:
    """A list of tasks on stdout."""
    if form is Form.NAME:
        for row in rows:
            click.echo(row.id)
    elif form in DOCUMENTS:
        show_structs(rows, form)
    else:
        columns = _COLUMNS | (_WIDE if form is Form.WIDE else {})
        show_table(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


def show_structs(items: Sequence[Struct], form: Form) -> None:
    """Each as its document: one list in JSON or YAML, or one line of JSON each."""
    if form is Form.JSONL:
        for item in items:
            click.echo(msgspec.json.encode(item).decode())
    elif form is Form.YAML:
        click.echo(yaml.dump(msgspec.json.decode(msgspec.json.encode(list(items)))), nl=False)
    else:
        click.echo(msgspec.json.format(msgspec.json.encode(list(items)), indent=2).decode())


def show_table(head: list[str], rows: list[list[str]]) -> None:
    """Columns as wide as they must be; the last one is not filled up."""
    widths = [max(len(line[n]) for line in (head, *rows)) for n in range(len(head))]
    for line in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def plain(text: str) -> str:
    """For a terminal, which would obey the control characters in a name that a task made up."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def age(moment: datetime) -> str:
    """`37s`, `12m`, `3h`, `9d`."""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for step, letter in _STEPS:
        if seconds >= step:
            return f"{seconds // step}{letter}"
    return f"{seconds}s"


def duration(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"


def size(count: int) -> str:
    for step, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} B"
