"""The commands on nodes, as click sees them.

`cordon`, `uncordon` and `drain` without `node` ask a judicator of this host, and work while no
gateway does; these ask a gateway from anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from roles.client.options import act, connected, formed

if TYPE_CHECKING:
    from roles.client.connection import Connection

_NAME = click.argument("name", metavar="NODE")
_REASON = click.option(
    "--reason", default="", help="Why, for whoever wonders; shown in status and nodes."
)


@click.command(short_help="Judicators and executors.")
@formed
@connected
def nodes(connection: Connection, form: str) -> None:
    """Show the cluster's judicators and executors."""
    _list(connection, form)


@click.group(short_help="One executor or judicator.")
def node() -> None:
    """The machines of the cluster, one by one, through a gateway."""


@node.command("ls", short_help="Judicators and executors.")
@formed
@connected
def list_nodes(connection: Connection, form: str) -> None:
    """Show the cluster's judicators and executors, as `nodes` does."""
    _list(connection, form)


@node.command("get", short_help="All that is known of one.")
@_NAME
@formed
@connected
def get_node(connection: Connection, form: str, name: str) -> None:
    """Show what NODE is, what it has, and what is left of it."""
    from roles.client.node_acts import show_node
    from roles.client.tables import Form

    act(connection, lambda khala: show_node(khala, name, Form(form)))


@node.command("cordon", short_help="Let an executor have no new work.")
@_NAME
@_REASON
@connected
def cordon_node(connection: Connection, name: str, reason: str) -> None:
    """Let an executor have no new work; what it runs goes on. It holds until `node uncordon`, over
    restarts too."""
    from roles.client.node_acts import cordon

    act(connection, lambda khala: cordon(khala, name, reason))


@node.command("uncordon", short_help="Let it have work again.")
@_NAME
@connected
def uncordon_node(connection: Connection, name: str) -> None:
    """Let an executor have work again."""
    from roles.client.node_acts import uncordon

    act(connection, lambda khala: uncordon(khala, name))


@node.command("drain", short_help="Cordon an executor and wait until it is empty.")
@_NAME
@click.option(
    "--deadline",
    default="15m",
    show_default=True,
    help="What still runs then is given back and runs again elsewhere.",
)
@_REASON
@click.option("--monitor", is_flag=True, help="Say how many tasks still run, as they end.")
@connected
def drain_node(
    connection: Connection, name: str, deadline: str, reason: str, monitor: bool
) -> None:
    """Cordon an executor and return when nothing runs on it: then it can be stopped.

    \b
      khala.pex node drain exec-07 --deadline 15m --reason "disk swap" --monitor
      khala.pex node uncordon exec-07
    """
    from khala.model.limits import DRAIN_MAX_S
    from roles.client.node_acts import drain
    from roles.client.request import duration_of

    seconds = duration_of(deadline, "--deadline", most_s=DRAIN_MAX_S) or 0.0
    act(connection, lambda khala: drain(khala, name, seconds, reason, monitor=monitor))


@node.command("rm", short_help="Do not list a lost executor any more.")
@_NAME
@connected
def forget_node(connection: Connection, name: str) -> None:
    """Let an executor that is lost, and will not come back, not be listed any more; a week after
    its loss that happens by itself. A judicator leaves by `khala.pex leave`."""
    from roles.client.node_acts import forget

    act(connection, lambda khala: forget(khala, name))


@node.command("doctor", short_help="What its host lacks, and how to repair it.")
@_NAME
@formed
@connected
def examine_node(connection: Connection, form: str, name: str) -> None:
    """Show what the roles of NODE found when they last looked at their host: soon after they began,
    and every hour. Exit code 0 if nothing is missing, 69 if something is that a role needs.

    `khala.pex doctor` on the host itself looks at once, and tries the sandbox too.
    """
    from roles.client.node_acts import show_examinations
    from roles.client.tables import Form

    act(connection, lambda khala: show_examinations(khala, name, Form(form)))


def _list(connection: Connection, form: str) -> None:
    from roles.client.node_acts import list_nodes
    from roles.client.tables import Form

    act(connection, lambda khala: list_nodes(khala, Form(form)))


NODE_COMMANDS = (nodes, node)
