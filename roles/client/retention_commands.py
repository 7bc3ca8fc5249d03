"""`retention` as click sees it: what the cluster keeps, and how an administrator changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from roles.client.options import act, connected, formed

if TYPE_CHECKING:
    from roles.client.connection import Connection

_NAMES = ("age", "count", "bytes", "audit", "backups")


@click.group(short_help="What the cluster keeps; and how that is changed.")
def retention() -> None:
    """What the cluster keeps: ended tasks, entries of the audit log, backups.

    \b
      khala.pex retention ls
      khala.pex retention set --age 30d --count 1_000_000 --bytes 200GiB
      khala.pex retention set --audit 90d --backups 14
      khala.pex retention unset age

    What is set here is kept by the cluster, and stands in the place of what judicators were told
    with --retention-*, --audit-days and --backups-kept. What keeps more is in force within two
    seconds. What keeps less begins a day later, and can be taken back until then.
    """


@retention.command("ls", short_help="What each judicator keeps, and what comes when.")
@formed
@connected
def list_retention(connection: Connection, form: str) -> None:
    """List what is in force on each judicator, and what will be once a day's notice is over; SET
    says which of it is set in the cluster, and not by the judicators' hosts."""
    from roles.client import retention
    from roles.client.tables import Form

    act(connection, lambda khala: retention.list_retention(khala, Form(form)))


@retention.command("set", short_help="Set what is kept.")
@click.option("--age", metavar="DURATION", help="Of ended tasks, from their end, such as 30d.")
@click.option("--count", metavar="N", help="Of ended tasks: the newest.")
@click.option("--bytes", "stored", metavar="SIZE", help="Of tasks and outputs, such as 200GiB.")
@click.option("--audit", metavar="DURATION", help="Of new entries of the audit log, such as 90d.")
@click.option("--backups", metavar="N", help="Taken by HTTP, on each judicator.")
@formed
@connected
def set_retention(
    connection: Connection, form: str, stored: str | None, **amounts: str | None
) -> None:
    """Set what is named, and leave the rest as it is; `none` is no bound, of tasks. Return when
    every judicator knows it: what keeps more is in force then, what keeps less begins a day
    later."""
    from roles.client import retention
    from roles.client.tables import Form

    given = {**amounts, "bytes": stored}
    act(connection, lambda khala: retention.set_retention(khala, given, Form(form)))


@retention.command("unset", short_help="Take away what is set, so that hosts' settings hold.")
@click.argument("names", nargs=-1, type=click.Choice(_NAMES), metavar="[age|count|bytes|...]")
@formed
@connected
def unset_retention(connection: Connection, names: tuple[str, ...], form: str) -> None:
    """Take away what is set in the cluster of age, count, bytes, audit or backups, or all of it, so
    that what judicators were told holds: at once where that keeps more, else a day later."""
    from roles.client import retention
    from roles.client.tables import Form

    act(connection, lambda khala: retention.unset_retention(khala, names, Form(form)))
