"""What operators' commands say, whether they asked a judicator of this host or a gateway."""

from __future__ import annotations

import click
import msgspec

from khala.model.errors import Unavailable
from khala.model.limits import MIB
from khala.model.retention import Forgotten
from khala.protocol.joining import TokenMade, TokenRecord
from khala.protocol.leadership import Transferred
from khala.protocol.retention import Answer
from roles.lines import show_table

_DATE = "%Y-%m-%d %H:%M:%S"


def tell_forgotten(answer: Answer, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(answer))
        return
    keep, found = answer.keep, answer.forgotten
    would = "would go" if dry_run else "went"
    least = "at least " if found.more else ""
    click.echo(f"kept of ended tasks: {keep}, but for those that say themselves how long they stay")
    if not keep.on:
        click.echo(
            "to remove others too, say on a judicator's host what is to be kept: --retention-age"
            " 30d, --retention-count or --retention-bytes"
        )
    size = f"{found.size_bytes / MIB:.1f} MiB"
    click.echo(f"{would}: {least}{found.tasks} tasks, {size}; {found.jobs} whole jobs among them")
    if found.own:
        click.echo(f"{found.own} of them {would} by their own retention")
    if found.oldest and found.newest:
        click.echo(f"they ended from {found.oldest:{_DATE}} to {found.newest:{_DATE}} UTC")
    if found.needed:
        click.echo(
            f"{found.needed} older ones stay: tasks wait for them, or their key may be repeated"
        )


def add(one: Forgotten, other: Forgotten) -> Forgotten:
    """Of two rounds of one removal."""
    return Forgotten(
        tasks=one.tasks + other.tasks,
        jobs=one.jobs + other.jobs,
        size_bytes=one.size_bytes + other.size_bytes,
        own=one.own + other.own,
        oldest=min(filter(None, (one.oldest, other.oldest)), default=None),
        newest=max(filter(None, (one.newest, other.newest)), default=None),
        needed=other.needed,
        more=other.more,
    )


def tell_token(made: TokenMade) -> None:
    """The token alone on stdout, so that it can go into a file; what it is on stderr."""
    click.echo(made.token)
    record = made.record
    click.echo(
        f"for {record.uses} {record.role}{'s' * (record.uses > 1)}, until"
        f" {record.expires_at:{_DATE}} UTC; on the new host:"
        f" khala.pex {record.role} --join HOST --join-token-file FILE",
        err=True,
    )


def tell_tokens(tokens: list[TokenRecord]) -> None:
    rows = [
        [each.id, each.role, f"{each.uses_left}/{each.uses}", f"{each.expires_at:{_DATE}}"]
        for each in tokens
    ]
    show_table(["ID", "ROLE", "LEFT", "UNTIL (UTC)"], rows)


def tell_transferred(moved: Transferred, to: str | None) -> None:
    """Raise `Unavailable` if it is another one than `to`."""
    if to is not None and moved.leader != to:
        raise Unavailable(
            f"{to} agreed and fell silent then; {moved.leader} leads now, {moved.before} did before"
        )
    if moved.leader == moved.before:
        click.echo(f"{moved.leader} leads already.")
    else:
        click.echo(f"{moved.leader} leads now; {moved.before} did before.")
