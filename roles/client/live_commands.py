"""Commands that go on looking: at what happens, at the load, and at a task in its page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from roles.client.options import act, complete_task, connected, formed

if TYPE_CHECKING:
    from roles.client.connection import Connection


@click.command(short_help="What happens in the cluster, as it happens.")
@click.argument("topics", nargs=-1, metavar="[TOPIC]...")
@click.option("--user", type=click.IntRange(min=0), help="Of tasks, those of this user.")
@click.option(
    "--label", multiple=True, metavar="KEY=VALUE", help="Of tasks, those with it; several times."
)
@click.option(
    "--after", metavar="ID", help="Begin behind the event with this id, as one before had it."
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many.  [default: Ctrl-C]")
@connected
def events(connection: Connection, topics: tuple[str, ...], **given: object) -> None:
    """Print what happens in the cluster, a line of JSON for each event, until Ctrl-C.

    TOPIC is tasks, nodes, queue, task:TASK or job:JOB, with the words that name tasks everywhere;
    without any it is the first three.

    \b
      khala.pex events
      khala.pex events tasks --user 7 --label course=cs101
      khala.pex events task:last --count 3
      khala.pex events queue | jq -r .queued

    It goes on where it was when the connection breaks. A line `reset` says that something may be
    missing: read anew what you know. Each line has an `id`; --after takes one of them.
    """
    from roles.client import watching

    wanted = watching.Wanted(topics=topics, **given)  # type: ignore[arg-type]
    act(connection, lambda khala: watching.print_events(khala, connection, wanted))


@click.command("open", short_help="A task's page in the browser.")
@click.argument("task", metavar="[TASK]", required=False, shell_complete=complete_task)
@click.option("--print", "only_print", is_flag=True, help="Print the address, open nothing.")
@connected
def open_page(connection: Connection, task: str | None, only_print: bool) -> None:
    """Print the address of the page of TASK (or of a job; without one: of the gateway), and open it
    in a browser where there is a desktop.

    \b
      khala.pex open last
      khala.pex open last --print

    TASK is named as everywhere: an id, the beginning of one, or `last`.
    """
    from roles.client import watching

    act(
        connection,
        lambda khala: watching.open_page(khala, connection, task, only_print=only_print),
    )


@click.command(short_help="The load of the cluster, again and again.")
@click.option(
    "-n",
    "--interval",
    metavar="DURATION",
    default="2s",
    show_default=True,
    help="Between two looks.",
)
@click.option("--looks", type=click.IntRange(min=1), help="End after so many.  [default: Ctrl-C]")
@formed
@connected
def top(connection: Connection, interval: str, looks: int | None, form: str) -> None:
    """Show queue, rates, latencies and slots of the whole cluster, again every --interval.

    Rates are of the time between two looks. Without a terminal it looks once."""
    from roles.client.request import duration_of
    from roles.client.tables import Form
    from roles.client.top import show

    interval_s = max(0.1, duration_of(interval, "--interval") or 0.0)
    screen = sys.stdout.isatty() and form == "table"
    if looks is None and not screen:
        looks = 1
    act(
        connection,
        lambda khala: show(khala, Form(form), interval_s=interval_s, looks=looks, screen=screen),
    )


LIVE_COMMANDS = (events, open_page, top)
