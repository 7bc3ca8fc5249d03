"""The commands that change tasks, as click sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from roles.client.options import SELECTORS, act, complete_task, connected, some_tasks

if TYPE_CHECKING:
    from roles.client.connection import Connection
    from roles.client.patch_acts import Change


@click.command(
    short_help="Keep tasks from beginning.",
    help="Hold tasks that wait: others overtake them, and they do not begin before `release`."
    f"\n\n{SELECTORS}",
)
@some_tasks
@connected
def hold(connection: Connection, tasks: tuple[str, ...]) -> None:
    from roles.client import patch_acts

    _change(connection, tasks, patch_acts.HOLD)


@click.command(
    short_help="Let tasks begin that are held.",
    help="Release tasks that are held; each has the place in the queue that it had.\n\n"
    f"{SELECTORS}",
)
@some_tasks
@connected
def release(connection: Connection, tasks: tuple[str, ...]) -> None:
    from roles.client import patch_acts

    _change(connection, tasks, patch_acts.RELEASE)


@click.command(
    short_help="Set labels of tasks, or take them away.",
    help="Set labels of tasks, in whatever state they are: KEY=VALUE adds one or replaces it, KEY-"
    f" takes it away.\n\n{SELECTORS}",
)
@click.argument(
    "words", nargs=-1, required=True, metavar="TASK... LABEL...", shell_complete=complete_task
)
@connected
def label(connection: Connection, words: tuple[str, ...]) -> None:
    from roles.client import patch_acts

    tasks, change = patch_acts.labels_in(words)
    _change(connection, tasks, change)


@click.command(
    short_help="Move tasks in the queue.",
    help="Give tasks that wait another priority, from -100 to 100: a point is worth a minute of"
    f" waiting, from their submission on.\n\n{SELECTORS}",
    context_settings={"ignore_unknown_options": True},  # a number below zero
)
@click.argument(
    "words", nargs=-1, required=True, metavar="TASK... PRIORITY", shell_complete=complete_task
)
@connected
def priority(connection: Connection, words: tuple[str, ...]) -> None:
    from roles.client import patch_acts

    tasks, change = patch_acts.priority_in(words)
    _change(connection, tasks, change)


def _change(connection: Connection, tasks: tuple[str, ...] | list[str], change: Change) -> None:
    from roles.client import patch_acts

    if not tasks:
        raise click.UsageError("which tasks? give TASK, or several")
    act(connection, lambda khala: patch_acts.change(khala, connection, tasks, change))


PATCH_COMMANDS = (hold, release, label, priority)
