"""What the commands do that change tasks, and the words that say how."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from khala.client import AsyncKhala, TaskPatch
from khala.model.errors import Rejected
from khala.model.order import PRIORITY_MAX
from roles.client.acts import each_of
from roles.client.connection import Connection
from roles.client.selectors import select


class Change(Struct, frozen=True, kw_only=True):
    """What is done to tasks."""

    patch: TaskPatch
    #: What is printed behind the id of each.
    done: str


HOLD = Change(patch=TaskPatch(held=True), done="held")
RELEASE = Change(patch=TaskPatch(held=False), done="released")


async def change(
    khala: AsyncKhala, connection: Connection, words: Sequence[str], wanted: Change
) -> int:
    async def change_one(task: str) -> str:
        await khala.patch_task(task, wanted.patch)
        return f"{task} {wanted.done}"

    return await each_of(await select(khala, connection, tuple(words)), change_one)


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
        raise Rejected("which labels? KEY=VALUE, or KEY- to take one away", field="LABEL")
    return tasks, Change(patch=TaskPatch(labels=labels), done="labelled")


def priority_in(words: Sequence[str]) -> tuple[list[str], Change]:
    """The words that name tasks, and the number behind them."""
    *tasks, last = words
    try:
        priority = int(last)
    except ValueError:
        raise Rejected(
            f"PRIORITY: -{PRIORITY_MAX} to {PRIORITY_MAX} is possible, and comes last;"
            f" {last[:80]!r} was given",
            field="PRIORITY",
        ) from None
    return tasks, Change(patch=TaskPatch(priority=priority), done=f"has priority {priority}")
