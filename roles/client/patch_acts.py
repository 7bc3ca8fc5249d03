"""What the commands do that change tasks, and the words that say how."""

from __future__ import annotations

from collections.abc import Sequence

import click
from msgspec import Struct

from khala.client import AsyncKhala, TaskPatch
from khala.client.request import Json
from khala.model.errors import Rejected
from khala.model.order import PRIORITY_MAX
from khala.model.task import TaskState
from roles.client import exits
from roles.client.acts import each_of
from roles.client.connection import Connection
from roles.client.document_acts import confirmed, count_in
from roles.client.selectors import select


class Change(Struct, frozen=True, kw_only=True):
    """What is done to tasks."""

    patch: TaskPatch
    #: What a person is asked, and told afterwards.
    act: str
    done: str


HOLD = Change(patch=TaskPatch(held=True), act="Hold", done="held")
RELEASE = Change(patch=TaskPatch(held=False), act="Release", done="released")


async def change(
    khala: AsyncKhala, connection: Connection, words: Sequence[str], wanted: Change
) -> int:
    async def change_one(task: str) -> str:
        await khala.patch_task(task, wanted.patch)
        return f"{task} {wanted.done}"

    return await each_of(await select(khala, connection, tuple(words)), change_one)


async def change_matching(khala: AsyncKhala, matching: Json, wanted: Change, *, sure: bool) -> int:
    """All tasks of a filter, after their number was confirmed."""
    waiting = wanted.patch.of_waiting
    count = await count_in(khala, matching, (TaskState.QUEUED,) if waiting else tuple(TaskState))
    if not count:
        which = "that waits " if waiting else ""
        click.echo(f"khala: no task {which}matches", err=True)
        return 0
    if not sure and not confirmed(wanted.act, wanted.done, count):
        return exits.FAILED
    acted = await khala.patch_matching(matching, count, wanted.patch)
    for failure in acted.failures:
        click.echo(f"khala: {failure.id}: {failure.detail}", err=True)
    if acted.not_waiting:
        click.echo(f"khala: {acted.not_waiting} do not wait any more", err=True)
    click.echo(f"{acted.patched} {wanted.done}")
    if acted.failed:
        return exits.UNREACHABLE
    return exits.CONFLICT if acted.not_waiting else 0


def labels_in(words: Sequence[str]) -> tuple[list[str], Change]:
    """The words that name tasks, and what the others say: KEY=VALUE, or KEY- to take one away."""
    tasks: list[str] = []
    labels: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            labels[key] = value
        elif word.endswith("-"):
            labels[word[:-1]] = None
        else:
            tasks.append(word)
    if not labels:
        given = " ".join(words)[:80]
        raise Rejected(
            f"LABEL: KEY=VALUE is expected, or KEY- to take one away; none is in {given!r}",
            field="LABEL",
        )
    return tasks, Change(patch=TaskPatch(labels=labels), act="Label", done="labelled")


def priority_in(words: Sequence[str]) -> tuple[list[str], Change]:
    """The words that name tasks, and the number behind them."""
    *tasks, last = words or ("nothing",)
    try:
        priority = int(last)
    except ValueError:
        raise Rejected(
            f"PRIORITY: -{PRIORITY_MAX} to {PRIORITY_MAX} is possible, and comes last;"
            f" {last[:80]!r} was given",
            field="PRIORITY",
        ) from None
    return tasks, Change(patch=TaskPatch(priority=priority), act="Move", done="moved")
