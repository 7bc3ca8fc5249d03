"""Commands of a judicator's host that a gateway can be asked for as well, from anywhere.

On the host they ask a judicator with what the host has, and work while no gateway does and whatever
tokens are lost. Where --url or --context names a gateway, they ask that. Variables and the context
in use name none here: on a host its own cluster is meant, whatever its shell is set to.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import click
from click.core import ParameterSource

from khala.model.errors import Rejected
from roles.client.options import act

if TYPE_CHECKING:
    from roles.client.connection import Connection

_GATEWAY = ("url", "token_file", "context")


def add_elsewhere(group: click.Group) -> None:
    """Give the commands of `group` that can be had elsewhere the options of a gateway."""
    for path, work in _ELSEWHERE.items():
        command: click.Command = group
        for word in path.split():
            command = cast(click.Group, command).commands[word]
        _add(command, work)


def _add(command: click.Command, work: Callable[..., None]) -> None:
    here = cast(Callable[..., None], command.callback)
    taken = [name for name in inspect.signature(work).parameters if name != "connection"]

    def called(
        url: str | None, token_file: str | None, context: str | None, **options: object
    ) -> None:
        _refuse_strays(taken, named=url is not None or context is not None)
        if url is None and context is None:
            here(**options)
            return
        from roles.client.connection import connection_of

        work(connection_of(url, token_file, context), **{name: options[name] for name in taken})

    command.callback = called
    command.params += [
        click.Option(["--url"], metavar="URL", help="Ask this gateway, and nothing of this host."),
        click.Option(["--context"], metavar="NAME", help="The same, by the name of `context set`."),
        click.Option(
            ["--token-file"],
            metavar="FILE",
            envvar="KHALA_TOKEN_FILE",
            help="The gateway's token, mode 0600.",
        ),
    ]


def _refuse_strays(taken: list[str], *, named: bool) -> None:
    """What was said and would not be heeded."""
    ctx = click.get_current_context()
    for option in ctx.command.params:
        name, flag = option.name or "", option.opts[0]
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if named and name not in (*_GATEWAY, *taken):
            raise Rejected(
                f"{flag}: a gateway, which --url or --context names, takes no such option; leave"
                " out one of them",
                field=flag,
            )
        if not named and name in _GATEWAY:
            raise Rejected(
                f"{flag}: it is a gateway's; name one with --url or --context, or leave it out",
                field=flag,
            )


def _gc(connection: Connection, dry_run: bool, as_json: bool) -> None:
    from roles.client import operator_acts

    act(connection, lambda khala: operator_acts.collect(khala, dry_run=dry_run, as_json=as_json))


def _create_token(connection: Connection, role: str, ttl: str, uses: int) -> None:
    from khala.model.limits import JOIN_TOKEN_MAX_S, JOIN_TOKEN_MIN_S
    from roles.client import operator_acts
    from roles.client.request import duration_of

    bounds = {"least_s": JOIN_TOKEN_MIN_S, "most_s": JOIN_TOKEN_MAX_S}
    ttl_s = duration_of(ttl, "--ttl", **bounds) or 0.0
    act(connection, lambda khala: operator_acts.create_token(khala, role, ttl_s, uses))


def _list_tokens(connection: Connection) -> None:
    from roles.client import operator_acts

    act(connection, operator_acts.list_tokens)


def _revoke_token(connection: Connection, token_id: str) -> None:
    from roles.client import operator_acts

    act(connection, lambda khala: operator_acts.revoke_token(khala, token_id))


def _transfer(connection: Connection, member: str | None) -> None:
    from roles.client import operator_acts

    act(connection, lambda khala: operator_acts.transfer(khala, member))


#: By their words; their parameters are options of the command.
_ELSEWHERE: Mapping[str, Callable[..., None]] = {
    "gc": _gc,
    "token create": _create_token,
    "token ls": _list_tokens,
    "token revoke": _revoke_token,
    "cluster transfer-leader": _transfer,
}
