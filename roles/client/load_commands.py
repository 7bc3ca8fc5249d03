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


@click.command(short_help="What ended, step by step.")
@click.option(
    "--since", metavar="DURATION", default="24h", show_default=True, help="How far back: 2h, 30d."
)
@click.option(
    "--step", type=click.Choice(["1m", "5m", "1h", "1d"]), default="1h", show_default=True
)
@formed
@connected
def stats(connection: Connection, form: str, since: str, step: str) -> None:
    """Show how many tasks ended in each step and how, after which wait, which run (half and 95 %
    of them took no longer) and with which processor time. It is known when the tasks are gone.

    \b
      khala.pex stats
      khala.pex stats --since 2h --step 5m
      khala.pex stats --since 30d --step 1d -o json | jq '.[0].buckets'

    A bar is as long as its share of the longest; what did not succeed is the x at its end."""
    from khala.model.statistics import DAYS
    from roles.client.request import duration_of
    from roles.client.stats import show_stats
    from roles.client.tables import Form

    most_s = DAYS.kept.total_seconds()
    since_s = duration_of(since, "--since", least_s=1.0, most_s=most_s) or 0.0
    act(connection, lambda khala: show_stats(khala, Form(form), since_s=since_s, step=step))


LOAD_COMMANDS = (queue, stats)
