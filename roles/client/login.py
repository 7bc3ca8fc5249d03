"""`login`, `logout`, `whoami` and `ticket`: a token of one's own, kept for the commands that
follow, and what stands for it once.

The token goes from the terminal or a pipe into a file that only this account can read, and the
context into which it goes names that file; it is never an argument, and never in the context.
"""

from __future__ import annotations

import getpass
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from khala.client import AsyncKhala
from khala.client.failures import Denied
from khala.model.errors import NotFound, Rejected
from khala.net.secrets import SECRET_CHARS_MAX, SECRET_CHARS_MIN, SecretFile
from khala.pki.node import write_secret
from khala.protocol.v2 import KnownBy, Me
from roles.client import tables
from roles.client.connection import URL_DEFAULT, Connection
from roles.client.contexts import Context, Contexts, folder
from roles.client.tables import Form

_STDIN = "-"
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def place(url: str | None, name: str | None) -> tuple[str, str]:
    """The name of the context and the gateway that a token is for. Raise `Rejected` if these two
    do not belong together."""
    known = Contexts.read()
    if name is not None and name in known.contexts:
        own = known.contexts[name].url
        if url is not None and url.rstrip("/") != own:
            raise Rejected(
                f"--url: context {name} is of {own}; give another --context, or change it with"
                f" `context set {name} --url {url}`",
                field="--url",
            )
        return name, own
    if url is None and name is None and known.current is not None:
        return known.current, known.contexts[known.current].url
    url = (url or URL_DEFAULT).rstrip("/")
    if name is None:
        name = next((each for each, found in known.contexts.items() if found.url == url), None)
    return name or _name_for(url, known), url


def _name_for(url: str, known: Contexts) -> str:
    """Its host, or with its port where another gateway has that name."""
    parts = urlsplit(url)
    host = _UNFIT.sub("-", parts.hostname or "gateway").strip("-._") or "gateway"
    return host if host not in known.contexts else f"{host}-{parts.port or 80}"


def read_token(file: str | None) -> str:
    """From a file, from a pipe, or from a person whose typing is not shown."""
    if file is not None and file != _STDIN:
        return SecretFile(Path(file), flag="--token-file").read()
    if file is None and sys.stdin.isatty():
        token = getpass.getpass("Token: ").strip()
    else:
        token = sys.stdin.readline(SECRET_CHARS_MAX + 2).strip()
    if not SECRET_CHARS_MIN <= len(token) <= SECRET_CHARS_MAX or not token.isascii():
        raise Rejected(
            f"--token-file: a token has {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} ASCII characters,"
            f" {len(token)} were given",
            field="--token-file",
        )
    return token


async def log_in(khala: AsyncKhala, name: str, url: str, token: str) -> int:
    """Keep `token` for the context `name`, and use that from now on, if the gateway takes it."""
    me = await _ask(khala)
    if me.known_by is KnownBy.OPEN:
        raise Rejected(
            f"the gateway at {url} asks nobody who they are, so there is nothing to log in to; its"
            " first user ends that: khala.pex user create NAME --role admin, on a judicator's host"
        )
    kept = _token_path(name)
    known = Contexts.read().with_one(name, Context(url=url, token_file=str(kept))).using(name)
    try:
        write_secret(kept, token.encode() + b"\n")
    except OSError as error:
        raise Rejected(f"{kept} cannot be written: {error.strerror}") from error
    known.write()
    click.echo(f"{_who(me)} at {url}; context {name} is in use", err=True)
    return 0


def log_out(name: str | None) -> int:
    """Forget the token of a context, of the one in use unless another is named."""
    known = Contexts.read()
    name = name or known.current
    if name is None:
        raise Rejected(
            "--context: there is no context in use; `context ls` shows them", field="--context"
        )
    context = known.named(name)
    if context.token_file is None:
        click.echo(f"context {name} has no token", err=True)
        return 0
    kept = _token_path(name)
    known.with_one(name, Context(url=context.url)).write()
    # A file that the user made is the user's.
    if context.token_file == str(kept):
        kept.unlink(missing_ok=True)
    click.echo(
        f"context {name} has no token any more. The token itself is good until it expires or is"
        f" revoked: {context.url}/tokens",
        err=True,
    )
    return 0


async def who_am_i(khala: AsyncKhala, connection: Connection, form: Form) -> int:
    me = await _ask(khala)
    if form in tables.DOCUMENTS:
        tables.show_structs([me], form)
    elif form is Form.NAME:
        click.echo(me.name or "-")
    else:
        why = ", which asks nobody who they are" if me.known_by is KnownBy.OPEN else ""
        click.echo(f"{_who(me)} at {connection.url}{why}")
        if me.token is not None and me.expires_at is not None:
            click.echo(f"token {me.token}, until {tables.date(me.expires_at)}")
    return 0


async def make_ticket(khala: AsyncKhala, form: Form) -> int:
    """The ticket alone on stdout, so that it can go into an address; how long it is good on
    stderr."""
    try:
        made = await khala.create_ticket()
    except NotFound:
        raise Rejected("this gateway is of a version without tickets") from None
    if form in tables.DOCUMENTS:
        tables.show_structs([made], form)
        return 0
    click.echo(made.ticket)
    click.echo(f"for one request that only reads, until {tables.date(made.expires_at)}", err=True)
    return 0


async def _ask(khala: AsyncKhala) -> Me:
    try:
        return await khala.me()
    except NotFound:
        raise Rejected("this gateway is of a version without users") from None
    except Denied as error:
        raise Denied(f"{error.message}; log in with a token of your own: khala.pex login") from None


def _who(me: Me) -> str:
    if me.name is not None:
        return f"{me.name} (user {me.number}), {me.role}"
    if me.known_by is KnownBy.OPEN:
        return f"anybody, {me.role}"
    return f"whoever has the gateway's own token, {me.role}"


def _token_path(name: str) -> Path:
    return folder() / "tokens" / name
