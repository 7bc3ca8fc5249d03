"""`quota` as click sees it: what users may have, and how an administrator changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from roles.client.options import act, connected, formed

if TYPE_CHECKING:
    from roles.client.connection import Connection


class _Shown(click.Group):
    """Without another word, `show`; a shell that completes is offered all words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = {*self.commands, *ctx.help_option_names}
        if not ctx.resilient_parsing and not (args and args[0] in words):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Shown, short_help="What a user may have, and has; and how that is changed.")
def quota() -> None:
    """Quotas: how many tasks of a user wait or run, its processor time a day, its stored bytes.

    \b
      khala.pex quota                      one's own
      khala.pex quota --user 7
      khala.pex quota ls
      khala.pex quota set 7 --running 4 --cpu 2h
      khala.pex quota set default --queued 1000
      khala.pex quota unset 7

    What is set here is kept by the cluster, is in force within two seconds, and stands in the place
    of what judicators were told with --quota-*.
    """


@quota.command("show", short_help="What a user may have, and has.")
@click.option("--user", type=click.IntRange(min=0), help="Whose.  [default: one's own]")
@formed
@connected
def show_quota(connection: Connection, user: int | None, form: str) -> None:
    """Show the bounds of a user, and what it has of each: tasks that wait or run, processor time
    since midnight (UTC), stored bytes."""
    from roles.client import quota
    from roles.client.tables import Form

    act(connection, lambda khala: quota.show_quota(khala, user, Form(form)))


@quota.command("ls", short_help="The bounds in force, of everybody and of users with their own.")
@formed
@connected
def list_quotas(connection: Connection, form: str) -> None:
    """List the bounds in force; SET says which of them are set in the cluster, and not by the
    judicators' hosts."""
    from roles.client import quota
    from roles.client.tables import Form

    act(connection, lambda khala: quota.list_quotas(khala, Form(form)))


@quota.command("set", short_help="Set bounds of a user, or of everybody.")
@click.argument("user", metavar="USER|default")
@click.option("--queued", metavar="N", help="Tasks that may wait.")
@click.option("--running", metavar="N", help="Tasks that may run at a time.")
@click.option("--cpu", metavar="DURATION", help="Processor time a day (UTC), such as 10h.")
@click.option("--bytes", "stored", metavar="SIZE", help="Of tasks and outputs, such as 20GiB.")
@formed
@connected
def set_quota(
    connection: Connection, user: str, form: str, stored: str | None, **amounts: str | None
) -> None:
    """Set what is named, and leave the rest as it is; `none` is no bound. Return when every
    judicator goes by it.

    USER is a user's number, or `default` for everybody who has no bound of their own."""
    from roles.client import quota
    from roles.client.tables import Form

    given = {**amounts, "bytes": stored}
    act(connection, lambda khala: quota.set_quota(khala, user, given, Form(form)))


@quota.command("unset", short_help="Take away what is set of a user, or of everybody.")
@click.argument("user", metavar="USER|default")
@formed
@connected
def unset_quota(connection: Connection, user: str, form: str) -> None:
    """Take away all bounds that are set in the cluster of USER, so that those of everybody hold,
    and those that judicators were told."""
    from roles.client import quota
    from roles.client.tables import Form

    act(connection, lambda khala: quota.unset_quota(khala, user, Form(form)))
