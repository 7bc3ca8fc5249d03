"""Commands that concern this account and this terminal: contexts, login, completion."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from roles.client.options import act, connected, formed

if TYPE_CHECKING:
    from roles.client.connection import Connection


@click.group(short_help="Gateways by name.")
def context() -> None:
    """Name gateways, and choose the one that commands go to.

    \b
      khala.pex context set lab --url http://gateway.lab:7000 --token-file lab.token
      khala.pex context use lab
      khala.pex --help          every command takes --context NAME for once

    --url and KHALA_URL win over the context in use. Kept in ~/.config/khala/client.toml.
    """


@context.command("ls", short_help="List them; * is in use.")
def context_ls() -> None:
    """List the contexts; * marks the one in use."""
    from roles.client.contexts import Contexts
    from roles.client.tables import show_table

    known = Contexts.read()
    show_table(
        ["", "NAME", "URL", "TOKEN FILE"],
        [
            ["*" if name == known.current else "", name, each.url, each.token_file or "-"]
            for name, each in sorted(known.contexts.items())
        ],
    )


@context.command("set", short_help="Name a gateway, or change what a name means.")
@click.argument("name")
@click.option("--url", required=True, metavar="URL")
@click.option("--token-file", metavar="FILE", help="Mode 0600; the token itself is not copied.")
def context_set(name: str, url: str, token_file: str | None) -> None:
    """Name a gateway. The first one named is in use at once."""
    from roles.client.contexts import Context, Contexts

    Contexts.read().with_one(name, Context(url=url, token_file=token_file)).write()


@context.command("use", short_help="Commands go there from now on.")
@click.argument("name")
def context_use(name: str) -> None:
    """Let commands go to this gateway from now on."""
    from roles.client.contexts import Contexts

    Contexts.read().using(name).write()


@context.command("rm", short_help="Forget a name.")
@click.argument("name")
def context_rm(name: str) -> None:
    """Forget a name; its token file stays."""
    from roles.client.contexts import Contexts

    Contexts.read().without(name).write()


@click.command(short_help="Keep a token of yours for the commands that follow.")
@click.option("--url", metavar="URL", help="Gateway.  [default: that of the context in use]")
@click.option("--context", "name", metavar="NAME", help="Where to keep it; its host's name else.")
@click.option("--token-file", metavar="FILE", help="Read it from there; - is standard input.")
def login(url: str | None, name: str | None, token_file: str | None) -> None:
    """Ask for a token (it is not shown while it is typed), look whether the gateway takes it, keep
    it in a file that only you can read, and use that gateway from now on.

    \b
      khala.pex login --url https://gateway.lab
      pass show khala | khala.pex login --context lab --token-file -
      khala.pex whoami

    Tokens are made on the page /tokens of a gateway, by an administrator, or on a judicator's host:
    khala.pex pat create."""
    from roles.client.connection import Connection, history_path
    from roles.client.login import log_in, place, read_token

    name, url = place(url, name)
    token = read_token(token_file)
    connection = Connection(url=url, token=token, history_path=history_path())
    act(connection, lambda khala: log_in(khala, name, url, token))


@click.command(short_help="Forget the token of a context.")
@click.option("--context", "name", metavar="NAME", help="Another one than that in use.")
def logout(name: str | None) -> None:
    """Remove the token that `login` kept. It stays good until it expires or is revoked."""
    from roles.client.login import log_out

    sys.exit(log_out(name))


@click.command(short_help="Who the gateway takes you for.")
@formed
@connected
def whoami(connection: Connection, form: str) -> None:
    """Show your name, number and role, and the token that says so."""
    from roles.client.login import who_am_i
    from roles.client.tables import Form

    act(connection, lambda khala: who_am_i(khala, connection, Form(form)))


@click.command(short_help="Make what may stand in an address, for one request.")
@formed
@connected
def ticket(connection: Connection, form: str) -> None:
    """Print a ticket. It stands for you in one request that only reads, within a minute, where a
    program can set no header.

    \b
      wget "http://HOST:7000/api/v2/tasks/ID/logs?follow=true&ticket=$(khala.pex ticket)"
    """
    from roles.client.login import make_ticket
    from roles.client.tables import Form

    act(connection, lambda khala: make_ticket(khala, Form(form)))


@click.command(short_help="Let the shell complete commands and options.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that makes the shell complete commands, options and task ids.

    \b
      bash:  khala.pex completion bash > ~/.local/share/bash-completion/completions/khala.pex
      zsh:   khala.pex completion zsh > ~/.zfunc/_khala.pex      (a folder of $fpath)
      fish:  khala.pex completion fish > ~/.config/fish/completions/khala.pex.fish
    """
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    program = root.info_name or "khala.pex"
    variable = f"_{program}_COMPLETE".replace("-", "_").replace(".", "_").upper()
    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - the three are click's own
        raise click.UsageError(f"completion for {shell} is not known")
    click.echo(kind(root.command, {}, program, variable).source())


COMMANDS = (context, login, logout, whoami, ticket, completion)
