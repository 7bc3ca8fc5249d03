"""The commands that change tasks, as click sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from roles.client.options import SELECTORS, act, complete_task, connected, filtered

if TYPE_CHECKING:
    from roles.client.connection import Connection
    from roles.client.patch_acts import Change

_FILTER = "With --filter, all that it names, after their number was confirmed."


def _of_tasks(metavar: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command words of this form, and the filter that may stand for those of tasks."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            connected,
            click.option("--yes", is_flag=True, help="Do not ask."),
            filtered,
            click.argument("words", nargs=-1, metavar=metavar, shell_complete=complete_task),
        ):
            command = option(command)
        return command

    return decorate


@click.command(
    short_help="Keep tasks from beginning.",
    help="Hold tasks that wait: others overtake them, and they do not begin before `release`."
    f" {_FILTER}\n\n{SELECTORS}",
)
@_of_tasks("TASK...")
def hold(connection: Connection, words: tuple[str, ...], matching: str | None, yes: bool) -> None:
    from roles.client import patch_acts

    _change(connection, words, patch_acts.HOLD, matching, yes=yes)


@click.command(
    short_help="Let tasks begin that are held.",
    help=f"Release tasks that are held; each has the place in the queue that it had. {_FILTER}\n\n"
    f"{SELECTORS}",
)
@_of_tasks("TASK...")
def release(
    connection: Connection, words: tuple[str, ...], matching: str | None, yes: bool
) -> None:
    from roles.client import patch_acts

    _change(connection, words, patch_acts.RELEASE, matching, yes=yes)


@click.command(
    short_help="Set labels of tasks, or take them away.",
    help="Set labels of tasks, in whatever state they are: KEY=VALUE adds one or replaces it, KEY-"
    f" takes it away. {_FILTER}\n\n{SELECTORS}",
)
@_of_tasks("TASK... LABEL...")
def label(connection: Connection, words: tuple[str, ...], matching: str | None, yes: bool) -> None:
    from roles.client import patch_acts

    tasks, change = patch_acts.labels_in(words)
    _change(connection, tasks, change, matching, yes=yes)


@click.command(
    short_help="Move tasks in the queue.",
    help="Give tasks that wait another priority, from -100 to 100: a point is worth a minute of"
    f" waiting, from their submission on. {_FILTER}\n\n{SELECTORS}",
    context_settings={"ignore_unknown_options": True},  # a number below zero
)
@_of_tasks("TASK... PRIORITY")
def priority(
    connection: Connection, words: tuple[str, ...], matching: str | None, yes: bool
) -> None:
    from roles.client import patch_acts

    tasks, change = patch_acts.priority_in(words)
    _change(connection, tasks, change, matching, yes=yes)


def _change(
    connection: Connection,
    tasks: Sequence[str],
    change: Change,
    matching: str | None,
    *,
    yes: bool,
) -> None:
    from roles.client import patch_acts
    from roles.client.selectors import filter_of

    if bool(tasks) == bool(matching):
        raise click.UsageError("which tasks? give TASK or --filter, and not both")
    if matching:
        wanted = filter_of(matching)
        act(connection, lambda khala: patch_acts.change_matching(khala, wanted, change, sure=yes))
    act(connection, lambda khala: patch_acts.change(khala, connection, tasks, change))


PATCH_COMMANDS = (hold, release, label, priority)
