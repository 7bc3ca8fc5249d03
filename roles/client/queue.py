"""`queue`: what is next, how much waits, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator

import click

from khala.client import AsyncKhala
from khala.protocol.v2 import Queue, QueueItem
from roles.client import tables
from roles.client.tables import Form

_HEAD = ["PLACE", "ID", "NAME", "USER", "PRIORITY", "WAITED", "NEEDS"]
_USERS_SHOWN = 5


async def show_queue(khala: AsyncKhala, form: Form, *, user: int | None, limit: int) -> int:
    found = await khala.queue(user=user, limit=limit)
    if form in tables.DOCUMENTS:
        tables.show_structs([found], form)
    elif form is Form.NAME:
        for item in found.items:
            click.echo(item.id)
    else:
        for line in _summary(found):
            click.echo(line)
        if found.items:
            click.echo()
            tables.show_table(_HEAD, [_cells(item) for item in found.items])
        if found.more:
            click.echo("khala: there is more; --limit shows up to 500", err=True)
    return 0


def _summary(found: Queue) -> Iterator[str]:
    queued, held = (
        f"{count:,}" if exact else f"more than {count:,}"
        for count, exact in (
            (found.queued, found.queued_is_exact),
            (found.held, found.held_is_exact),
        )
    )
    longest = ""
    if found.oldest_queued_s is not None:
        longest = f"; the oldest waits {tables.span(found.oldest_queued_s)}"
    yield f"{queued} queued, {held} held{longest}"
    for each in found.users[:_USERS_SHOWN]:
        yield f"user {each.user}: {each.queued} queued, {each.held} held, {each.running} running"
    if len(found.users) > _USERS_SHOWN:
        yield f"and {len(found.users) - _USERS_SHOWN} other users; -o json has them"


def _cells(item: QueueItem) -> list[str]:
    return [
        str(item.position),
        item.id,
        tables.plain(item.name) or "-",
        str(item.user),
        str(item.priority),
        tables.span(item.waited_s),
        tables.plain(_needs(item)) or "-",
    ]


def _needs(item: QueueItem) -> str:
    words = [f"image={item.image}"] if item.image else []
    words += [f"{name}={amount:g}" for name, amount in item.needs.items()]
    words += [f"{key}={value}" for key, value in item.placement.require.items()]
    words += [f"{key}!={value}" for key, value in item.placement.avoid.items()]
    return " ".join(words)
