"""Administrators' commands on the command line; what they do is in the modules beside this one.

They are run on a judicator's host (or with its data directory), because they show its certificate.
"""

from __future__ import annotations

import sys

import click

from khala.config.options import Command, add_options, settings_from
from khala.config.settings import Settings
from khala.config.values import Kind, parse
from khala.model.errors import Rejected


def _settings(options: dict[str, object]) -> Settings:
    return settings_from("admin", options).settings


def duration(flag: str, text: str) -> float:
    try:
        value = parse(Kind.SECONDS, text)
    except ValueError as error:
        raise Rejected(f"{flag}: {error}", field=flag) from None
    return float(value) if isinstance(value, int | float) else 0.0


@click.group("token", short_help="Tokens with which nodes join the cluster.")
def token() -> None:
    """Make, list and revoke join tokens, on a judicator's host, or with --url at a gateway. Tokens
    of users are others: `khala.pex pat`.

    \b
      khala.pex token create --role executor --ttl 1h --uses 20 > token
      khala.pex executor --join 10.0.0.1 --join-token-file token       (on the new host)

    A token is a secret: whoever has it may join, once for each use, until it ends. It carries the
    hash of the cluster's authority, so the new node knows the cluster before it says anything.
    """


@add_options("admin")
@token.command("create", cls=Command, short_help="Make a token; printed once, on stdout.")
@click.option(
    "--role",
    required=True,
    type=click.Choice(("executor", "gateway", "judicator")),
    help="What may join with it. A judicator gets the authority's key: give that token away as you"
    " would the cluster.",
)
@click.option(
    "--ttl", default="1h", show_default=True, help="How long it may be used: 10m, 1h, 7d."
)
@click.option(
    "--uses", default=1, show_default=True, type=int, help="How many nodes may join with it."
)
def token_create(role: str, ttl: str, uses: int, **options: object) -> None:
    """Make a token and print it. The cluster keeps a hash of its secret: it is shown this once."""
    from roles.admin.tokens import create

    sys.exit(create(_settings(options), role, duration("--ttl", ttl), uses))


@add_options("admin")
@token.command("ls", cls=Command, short_help="Tokens that can still be used.")
def token_list(**options: object) -> None:
    """List tokens that can still be used: id, role, uses left, end."""
    from roles.admin.tokens import show

    sys.exit(show(_settings(options)))


@add_options("admin")
@token.command("revoke", cls=Command, short_help="End a token now.")
@click.argument("token_id", metavar="ID")
def token_revoke(token_id: str, **options: object) -> None:
    """End a token. Nodes that joined with it stay: they have certificates of their own."""
    from roles.admin.tokens import revoke

    sys.exit(revoke(_settings(options), token_id))


@click.group("cluster", short_help="The judicators of the cluster: who is a member, who goes.")
def cluster() -> None:
    """Look at the judicators of a cluster, let one lead or take one out, on a judicator's host.

    \b
      khala.pex cluster members
      khala.pex cluster transfer-leader b
      khala.pex cluster remove c       (c is dead for good, or about to be)
      khala.pex leave                  (on c itself)

    A judicator that is stopped or down stays a member: the others wait for it. Each of them holds
    a copy of everything; what is written is on a majority of them. So three survive the loss of one
    host, five of two; two survive nothing, and are meant as the step to three.
    """


@add_options("admin")
@cluster.command("members", cls=Command, short_help="The judicators and their databases.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def cluster_members(as_json: bool, **options: object) -> None:
    """List the judicators: name, address, standing, and what etcd and MongoDB say of them."""
    from roles.admin.members import show

    sys.exit(show(_settings(options), as_json=as_json))


@add_options("admin")
@cluster.command("remove", cls=Command, short_help="Take a judicator out, for good.")
@click.argument("member")
def cluster_remove(member: str, **options: object) -> None:
    """Take a judicator out of the replica set and of etcd; returns when it is out.

    Refused if what is left had no healthy majority. If its process runs, it ends by itself. It had
    the authority's key: one that was lost with its disk should be believed to be in other hands."""
    from roles.admin.members import remove

    sys.exit(remove(_settings(options), member))


@add_options("admin")
@cluster.command("transfer-leader", cls=Command, short_help="Let another judicator lead.")
@click.argument("member", metavar="[NAME]", required=False)
def cluster_transfer(member: str | None, **options: object) -> None:
    """Let the judicator NAME do the cluster's chores, or any other than the one that does now;
    returns when it does. Before an upgrade or a reboot of the leader's host, for example; a leader
    that just stops is replaced within seconds, too.

    The one that leads lets go only when the other one has said that it is ready. Tasks go on
    meanwhile. --url asks a gateway, from any host."""
    from roles.admin.members import transfer

    sys.exit(transfer(_settings(options), member))


@add_options("admin")
@click.command("leave", cls=Command, short_help="Take this host's judicator out, for good.")
def leave(**options: object) -> None:
    """Take the judicator of this --data-dir out of its cluster, as `cluster remove` does. Its
    process ends by itself then; a stop alone is not a leave."""
    from roles.admin.members import leave as run

    sys.exit(run(_settings(options)))


@add_options("admin")
@click.command("cordon", cls=Command, short_help="Let an executor have no new work.")
@click.argument("executor")
@click.option("--reason", default="", help="Why, for whoever wonders; shown in status and nodes.")
def cordon(executor: str, reason: str, **options: object) -> None:
    """Let an executor have no new work; what it runs goes on. It holds until `uncordon`, over
    restarts too."""
    from roles.admin.nodes import cordon as run

    sys.exit(run(_settings(options), executor, reason))


@add_options("admin")
@click.command("uncordon", cls=Command, short_help="Let it have work again.")
@click.argument("executor")
def uncordon(executor: str, **options: object) -> None:
    """Let an executor have work again."""
    from roles.admin.nodes import uncordon as run

    sys.exit(run(_settings(options), executor))


@add_options("admin")
@click.command("drain", cls=Command, short_help="Cordon an executor and wait until it is empty.")
@click.argument("executor")
@click.option(
    "--deadline",
    default="15m",
    show_default=True,
    help="What still runs then is given back and runs again elsewhere.",
)
@click.option("--reason", default="", help="Why, for whoever wonders; shown in status and nodes.")
@click.option("--monitor", is_flag=True, help="Say how many tasks still run, as they end.")
def drain(executor: str, deadline: str, reason: str, monitor: bool, **options: object) -> None:
    """Cordon an executor and return when nothing runs on it: then it can be stopped. What still
    runs at the deadline is given back and runs again elsewhere.

    \b
      khala.pex drain exec-07 --deadline 15m --reason "disk swap" --monitor
      systemctl stop khala@executor          (on exec-07; swap the disk, start it again)
      khala.pex uncordon exec-07

    `cordon` alone lets everything run to its end. By HTTP: POST /api/v2/nodes/NAME/drain."""
    from roles.admin.nodes import drain as run

    seconds = duration("--deadline", deadline)
    sys.exit(run(_settings(options), executor, seconds, reason, monitor=monitor))


@add_options("gc")
@click.command("gc", cls=Command, short_help="Remove ended tasks that are not to be kept.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def gc(dry_run: bool, as_json: bool, **options: object) -> None:
    """Remove ended tasks now, those that ended first; jobs with all of their tasks.

    \b
      khala.pex gc --dry-run                          (by what the cluster keeps)
      khala.pex gc --retention-age 30d --dry-run
      khala.pex gc --retention-bytes 20GiB
      khala.pex gc --url https://gateway.lab          (from any host)

    Kept in any case: what has not ended or ended within the last hour, what another task waits for,
    and for a day what was submitted with an idempotency key."""
    from roles.admin.retention import gc as run

    sys.exit(run(settings_from("gc", options), dry_run=dry_run, as_json=as_json))


ADMIN_COMMANDS: tuple[click.Command, ...] = (token, cluster, leave, cordon, uncordon, drain, gc)
