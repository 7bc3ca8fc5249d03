"""Commands that show the cluster as a whole, as click sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from roles.client.options import act, connected, formed

if TYPE_CHECKING:
    from roles.client.connection import Connection


@click.command(short_help="What waits, in the order in which it will run.")
@click.option("--user", type=click.IntRange(min=0), help="Only this user's tasks.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@formed
@connected
def queue(connection: Connection, form: str, user: int | None, limit: int) -> None:
    """Show the tasks that are next, with their places among all that wait, how many wait, and whose
    they are.

    \b
      khala.pex queue
      khala.pex queue --user 7 --limit 100
      khala.pex queue -o json | jq '.[0].users'
    """
    from roles.client.queue import show_queue
    from roles.client.tables import Form

    act(connection, lambda khala: show_queue(khala, Form(form), user=user, limit=limit))


LOAD_COMMANDS = (queue,)
