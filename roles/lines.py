"""Lines on a terminal, of the commands for tasks and of those for operators."""

from __future__ import annotations

from datetime import datetime

import click


def show_table(head: list[str] | None, rows: list[list[str]], *, err: bool = False) -> None:
    """Columns as wide as they must be; the last one is not filled up."""
    lines = rows if head is None else [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip(), err=err)


def plain(text: str) -> str:
    """For a terminal, which would obey the control characters in a name that a task made up."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def date(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
