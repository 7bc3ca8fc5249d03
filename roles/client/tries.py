"""The attempts of a task in a table, for whoever asks what took it so long."""

from __future__ import annotations

import click

from khala.client import AsyncKhala
from khala.protocol.v2 import Attempt, Task
from roles.client import tables


async def show(khala: AsyncKhala, task: Task) -> None:
    """Nothing for a task whose first attempt is its only one: all of it is told already."""
    if task.attempt <= 1 and not task.retries:
        return
    found = await khala.attempts(task.id)
    if found.forgotten:
        click.echo(f"{found.forgotten} earlier attempts are not remembered")
    for each in found.attempts:
        click.echo(f"  attempt {each.attempt}  {_sentence(each)}")


def _sentence(attempt: Attempt) -> str:
    """`retried on executor.1 after 1.2 s: exit code 3`."""
    where = f" on {attempt.executor}" if attempt.executor else ""
    took = ""
    if attempt.started_at is not None and attempt.ended_at is not None:
        seconds = (attempt.ended_at - attempt.started_at).total_seconds()
        took = f" after {tables.duration(round(seconds * 1000))}"
    why = tables.plain(attempt.message or attempt.reason or "")
    return f"{attempt.end}{where}{took}" + (f": {why}" if why else "")
