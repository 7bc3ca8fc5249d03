"""Waiting for a task, and the answer that shows it: what reading and creating have in common."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct
from sanic.response import HTTPResponse

from khala.model.errors import Rejected
from khala.model.ids import TaskId
from khala.model.limits import LONG_POLL_MAX_S, VIEW_TEXT_BYTES
from khala.model.task import TERMINAL, Task
from khala.net.client import JudicatorClient
from khala.protocol import v2
from roles.gateway.hub import Hub
from roles.gateway.texts import load_heads
from roles.gateway.v2_view import etag_of, refs_viewed, view_task

#: Whoever waits reads again this often even if no event came: events are hints.
REREAD_S = 1.0

_PATTERN = "([0-5]?[0-9]|60)s?"
_WAIT = re.compile(rf"{_PATTERN}\Z")

#: A parameter: seconds, as `30` or `30s`.
Wait: TypeAlias = Annotated[
    str, Meta(extra_json_schema={"pattern": f"^{_PATTERN}$", "examples": ["30s"]})
]


class Change(Struct, frozen=True, kw_only=True):
    """What is waited for: another tag than `since`."""

    since: str
    wait_s: float


async def wait_end(client: JudicatorClient, hub: Hub, known: TaskId, wait_s: float) -> Task:
    """The ended task, or what it is when the time is up."""
    deadline = time.monotonic() + wait_s
    with hub.watch(known, ends_only=True) as watch:
        # A task that is surely open is not read only to find that it is.
        task = None if hub.known_open(known) else await client.get(known)
        while task is None or task.state not in TERMINAL:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or hub.stopping:
                return task or await client.get(known)
            await watch.wait(min(REREAD_S, left_s))
            task = watch.ended or await client.get(known)
        return task


async def wait_change(client: JudicatorClient, hub: Hub, known: TaskId, change: Change) -> Task:
    """The task as soon as it is another than it was, or when the time is up."""
    deadline = time.monotonic() + change.wait_s
    with hub.watch(known, ends_only=False) as watch:
        task = await client.get(known)
        while task.state not in TERMINAL and etag_of(task) == change.since:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or hub.stopping:
                break
            await watch.wait(min(REREAD_S, left_s))
            task = watch.ended or await client.get(known)
        return task


def parse_wait(text: str | None) -> float:
    """`30`, `30s`; 0 if absent."""
    if text is None:
        return 0.0
    found = _WAIT.match(text)
    if found is None:
        raise Rejected(
            f"wait: 0s to {LONG_POLL_MAX_S:.0f}s is possible, {text[:40]!r} was given",
            field="wait",
        )
    return float(found.group(1))


async def answer_task(
    client: JudicatorClient,
    task: Task,
    headers: Mapping[str, str],
    status: int = 200,
    pending: v2.Pending | None = None,
) -> HTTPResponse:
    heads = await load_heads(client, task, refs_viewed(task), VIEW_TEXT_BYTES)
    return HTTPResponse(
        v2.encode(view_task(task, heads, pending)),
        status=status,
        headers=dict(headers),
        content_type="application/json",
    )
