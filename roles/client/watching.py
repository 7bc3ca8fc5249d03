"""Looking on: events as they come, a list that is shown again when it has changed, and pages."""

from __future__ import annotations

import asyncio
import os
import sys
import webbrowser
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

import click
import msgspec
from msgspec import Struct

from khala.client import AsyncKhala, EventQuery, Row
from khala.client.events import Event
from khala.model.errors import Rejected
from khala.model.job import is_job_id
from khala.protocol.v2 import EventHello
from roles.client.connection import Connection
from roles.client.request import pair_of
from roles.client.selectors import select_job, select_one
from roles.client.tables import CLEAR

TOPICS = ("tasks", "nodes", "queue")
#: A list is shown no more often, however much happens; people read no faster.
_PAUSE_S = 1.0
#: And so often at least, because ages are in it.
_LOOK_S = 10.0


class Wanted(Struct, frozen=True, kw_only=True):
    """Of the command line."""

    topics: tuple[str, ...] = ()
    user: int | None = None
    label: tuple[str, ...] = ()
    after: str | None = None
    count: int | None = None


async def print_events(khala: AsyncKhala, connection: Connection, wanted: Wanted) -> int:
    """A line of JSON for each. The hello does not count: nothing has happened."""
    query = EventQuery(
        topics=await _topics_of(khala, connection, wanted.topics) or TOPICS,
        user=wanted.user,
        labels=dict(pair_of(text, "--label", "KEY") for text in wanted.label),
        after=wanted.after,
    )
    left = wanted.count
    async with aclosing(khala.events(query)) as events:
        async for event in events:
            click.echo(msgspec.json.encode(event).decode())
            sys.stdout.flush()
            if left is not None and not isinstance(event, EventHello):
                left -= 1
                if not left:
                    break
    return 0


async def _topics_of(
    khala: AsyncKhala, connection: Connection, words: tuple[str, ...]
) -> tuple[str, ...]:
    """With ids for the words that name tasks and jobs. Raises `NotFound` where there is none: of
    nothing, nothing would ever be told."""
    found = []
    for word in (part.strip() for argument in words for part in argument.split(",")):
        kind, _, name = word.partition(":")
        if word in TOPICS:
            found.append(word)
        elif name and kind == "task":
            task = await khala.get(await select_one(khala, connection, name))
            found.append(f"task:{task.id}")
        elif name and kind == "job":
            job = await khala.get_job(await select_job(khala, connection, name))
            found.append(f"job:{job.id}")
        else:
            raise Rejected(
                f"TOPIC: {', '.join(TOPICS)}, task:TASK or job:JOB is expected,"
                f" {word[:80]!r} was given",
                field="TOPIC",
            )
    return tuple(found)


class Watch(Struct, frozen=True, kw_only=True):
    """A list that is shown again and again."""

    load: Callable[[], Awaitable[list[Row]]]
    #: Rows, and whether a head is due.
    show: Callable[[list[Row], bool], None]
    #: Show all of it in the place of what was shown before, and not only what has changed.
    screen: bool
    #: None: for ever.
    looks: int | None


async def watch_list(khala: AsyncKhala, watch: Watch) -> int:
    """Until it was looked at so many times."""
    async with aclosing(khala.events(EventQuery(topics=("tasks",)))) as events:
        await anext(events)  # hello: from here on no change is missed
        changed = asyncio.Event()
        listening = asyncio.ensure_future(_note_changes(events, changed))
        try:
            await _show_changes(watch, changed, listening)
        finally:
            listening.cancel()
            await asyncio.wait([listening])
    return 0


async def _note_changes(events: AsyncGenerator[Event, None], changed: asyncio.Event) -> None:
    try:
        async for _ in events:
            changed.set()
    finally:
        changed.set()


async def _show_changes(
    watch: Watch, changed: asyncio.Event, listening: asyncio.Future[None]
) -> None:
    shown: dict[str, Row] = {}
    look = 0
    while True:
        changed.clear()
        rows = await watch.load()
        fresh = rows if watch.screen else [row for row in rows if shown.get(row.id) != row]
        if watch.screen:
            click.echo(CLEAR, nl=False)
        if fresh or not look:
            watch.show(fresh, watch.screen or not look)
            sys.stdout.flush()
        shown = {row.id: row for row in rows}
        look += 1
        if look == watch.looks:
            return
        await asyncio.sleep(_PAUSE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S if watch.screen else None):
                await changed.wait()
        if listening.done():
            listening.result()  # no gateway answers any more


async def open_page(
    khala: AsyncKhala, connection: Connection, word: str | None, *, only_print: bool
) -> int:
    """Print the address; open it where somebody can see it."""
    address = f"{connection.url}/{await _page_of(khala, connection, word) if word else ''}"
    click.echo(address)
    if not only_print and _has_desktop() and not webbrowser.open(address):
        click.echo("khala: no browser could be started; open the address yourself", err=True)
    return 0


async def _page_of(khala: AsyncKhala, connection: Connection, word: str) -> str:
    """Raise `NotFound` where there would be nothing to see."""
    known = await select_one(khala, connection, word, jobs=True)
    if is_job_id(known):
        return f"jobs/{(await khala.get_job(known)).id}"
    return f"tasks/{(await khala.get(known)).id}"


def _has_desktop() -> bool:
    """In a script nobody looks at a window, and a browser of the terminal would take it over."""
    graphical = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return graphical and sys.stdout.isatty()
