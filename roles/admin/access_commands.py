"""`user`, `pat` and `audit` on the command line; what they do is in the modules beside this one.

They are how a cluster gets its first user, and how whoever lost every token gets in again: they
ask a judicator with what its host has, and no gateway.
"""

from __future__ import annotations

import sys

import click

from khala.config.options import Command, add_options, settings_from
from khala.config.settings import Settings
from khala.model.access import Role
from khala.model.access_limits import AUDIT_ENTRIES
from khala.model.errors import Rejected
from khala.protocol.access import AuditQuery, ChangeUser, MakeUser, NewPat
from roles.admin.commands import duration

_role = click.Choice([role.value for role in Role])


def _settings(options: dict[str, object]) -> Settings:
    return settings_from("admin", options).settings


def _pat(name: object, expires: object, role: str | None = None) -> NewPat:
    ttl_s = duration("--expires", str(expires))
    return NewPat(name=str(name), ttl_s=ttl_s, role=None if role is None else Role(role))


@click.group("user", short_help="Who may use the cluster, and as what.")
def user() -> None:
    """Make, list and change users, on a judicator's host.

    \b
      khala.pex user create ann --role admin > token      (the first one must be an admin)
      khala.pex user create ci --role submitter --expires 30d > ci-token
      khala.pex user set ann --role operator
      khala.pex user set bob --disable

    With the first user every gateway asks for tokens. A viewer reads everything, a submitter
    submits and changes what is its own, an operator changes anybody's, presets and nodes, an admin
    makes users and reads the audit log. By HTTP: /api/v2/users.
    """


@add_options("admin")
@user.command("create", cls=Command, short_help="Make a user and a first token, on stdout.")
@click.argument("name")
@click.option("--role", required=True, type=_role, help="What it may do.")
@click.option(
    "--number",
    type=int,
    help="`user` of its tasks, as of KV2; nobody else's.  [default: the next one]",
)
@click.option(
    "--token-name", default="first", show_default=True, help="What the token is for, in words."
)
@click.option(
    "--expires", default="90d", show_default=True, help="How long the token is good: 1h to 366d."
)
@click.option("--no-token", is_flag=True, help="Make none; see `pat create`.")
def user_create(name: str, role: str, number: int | None, **options: object) -> None:
    """Make the user NAME and print a token of it, alone on stdout: it is shown this once, the
    cluster keeps a hash. NAME is of a-z, 0-9, '.', '_' and '-'."""
    from roles.admin.users import create_user

    pat: NewPat | None = _pat(options.pop("token_name"), options.pop("expires"))
    if options.pop("no_token"):
        pat = None
    wanted = MakeUser(name=name, role=Role(role), number=number, pat=pat)
    sys.exit(create_user(_settings(options), wanted))


@add_options("admin")
@user.command("ls", cls=Command, short_help="All users.")
def user_list(**options: object) -> None:
    """List users: name, number, role, whether they are let in."""
    from roles.admin.users import list_users

    sys.exit(list_users(_settings(options)))


@add_options("admin")
@user.command("set", cls=Command, short_help="Change a user's role, shut it out or let it in.")
@click.argument("name")
@click.option("--role", type=_role, help="What it may do from now on; its tokens too.")
@click.option("--disable/--enable", "disabled", default=None, help="Shut it out, or let it in.")
def user_set(name: str, role: str | None, disabled: bool | None, **options: object) -> None:
    """Change a user. A gateway knows it within five seconds. What it submitted goes on. The last
    admin that is not disabled stays one."""
    from roles.admin.users import change_user

    if role is None and disabled is None:
        raise Rejected("say what is to change: --role ROLE, --disable or --enable")
    change = ChangeUser(role=None if role is None else Role(role), disabled=disabled)
    sys.exit(change_user(_settings(options), name, change))


@add_options("admin")
@user.command("rm", cls=Command, short_help="Remove a user and its tokens; its tasks stay.")
@click.argument("name")
def user_remove(name: str, **options: object) -> None:
    """Remove a user, its tokens and its sessions. Its tasks stay, and its number is not given
    again by itself."""
    from roles.admin.users import remove_user

    sys.exit(remove_user(_settings(options), name))


@click.group("pat", short_help="Personal tokens of users.")
def pat() -> None:
    """Make, list and revoke users' personal tokens, on a judicator's host. It is also how somebody
    gets in again who has lost every token.

    \b
      khala.pex pat create ann --name laptop --expires 30d > token
      khala.pex pat ls ann
      khala.pex pat revoke ann 0123456789ab

    Users make and revoke their own by HTTP: /api/v2/tokens. Tokens with which nodes join are
    others: `khala.pex token`.
    """


@add_options("admin")
@pat.command("create", cls=Command, short_help="Make a token of a user; printed once, on stdout.")
@click.argument("name", metavar="USER")
@click.option("--name", "token_name", required=True, help="What it is for, in words.")
@click.option("--role", type=_role, help="The most that it allows.  [default: the user's]")
@click.option(
    "--expires", default="90d", show_default=True, help="How long it is good: 1h to 366d."
)
def pat_create(
    name: str, token_name: str, role: str | None, expires: str, **options: object
) -> None:
    """Make a token and print it, alone on stdout: it is shown this once."""
    from roles.admin.users import create_pat

    sys.exit(create_pat(_settings(options), name, _pat(token_name, expires, role)))


@add_options("admin")
@pat.command("ls", cls=Command, short_help="Tokens of one user, or of all.")
@click.argument("name", metavar="[USER]", required=False)
def pat_list(name: str | None, **options: object) -> None:
    """List tokens that have not expired: id, user, name, role, last use, end. The last use is a
    minute or so behind."""
    from roles.admin.users import list_pats

    sys.exit(list_pats(_settings(options), name))


@add_options("admin")
@pat.command("revoke", cls=Command, short_help="End a token now, and its sessions.")
@click.argument("name", metavar="USER")
@click.argument("token_id", metavar="ID")
def pat_revoke(name: str, token_id: str, **options: object) -> None:
    """End a token and the sessions that were opened with it. A gateway may let it in for another
    five seconds."""
    from roles.admin.users import revoke_pat

    sys.exit(revoke_pat(_settings(options), name, token_id))


@add_options("admin")
@click.command("audit", cls=Command, short_help="Who changed what.")
@click.option("--user", "by", help="Only what this user did.")
@click.option("--act", help="Only acts of this kind: user.create, node.drain, task.cancel ...")
@click.option("--since", help="A date, or how long ago: 2026-01-31T12:00Z, 2h, 7d.")
@click.option("--until", help="The same; entries from before it.")
@click.option(
    "--limit",
    default=50,
    show_default=True,
    type=click.IntRange(1, AUDIT_ENTRIES),
    help="How many at the most.",
)
@click.option(
    "-o",
    "--output",
    "form",
    default="table",
    show_default=True,
    type=click.Choice(["table", "json", "jsonl"]),
    help="jsonl is written as it comes, of any number.",
)
def audit(by: str | None, act: str | None, limit: int, form: str, **options: object) -> None:
    """Show the audit log, the latest first: what was changed through gateways and by commands on
    judicators' hosts, and what was refused to users.

    \b
      khala.pex audit --since 24h
      khala.pex audit --act user.create -o json
      khala.pex audit --limit 1000000 -o jsonl > audit.jsonl

    ENDED is the status of HTTP that was answered; "?" stands where nobody said how it ended. By
    HTTP: GET /api/v2/audit."""
    from roles.admin.audit import Form, moment, show

    since, until = (moment(f"--{name}", options.pop(name)) for name in ("since", "until"))
    query = AuditQuery(limit=limit, user=by, act=act, since=since, until=until)
    sys.exit(show(_settings(options), query, Form(form)))


ACCESS_COMMANDS: tuple[click.Command, ...] = (user, pat, audit)
