"""`GET /api/v2/queue`: what is next, how much waits, and whose it is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.dates import utc_now
from khala.model.limits import QUEUE_SHOWN
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.queue import QueuedTask, QueueView, ReadQueue
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.queries import read_query
from roles.gateway.rows import place_of
from roles.gateway.spec_order import view_amounts, view_placement
from roles.gateway.submission import INTEGER_MAX
from roles.gateway.v2_list import LIMIT_DEFAULT


class QueueQuery(Struct, frozen=True, kw_only=True):
    #: Only this user's tasks in `items`; their places are those among all.
    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None
    #: Of `items`.
    limit: Annotated[int, Meta(ge=1, le=QUEUE_SHOWN)] = LIMIT_DEFAULT


class QueueRoutes(Struct, frozen=True, kw_only=True):
    """The handler, and what it answers from."""

    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path="/api/v2/queue",
            tag="Cluster",
            query=QueueQuery,
            answers={200: Answer(v2.Queue)},
        )
    )
    async def get_queue(self, request: Request) -> HTTPResponse:
        """Show what waits, in the order in which it will be taken, and whose it is."""
        query = read_query(request, QueueQuery)
        seen = await self.client.read_queue(ReadQueue(user=query.user, limit=query.limit))
        headers = {**NOSNIFF, "Cache-Control": "no-store"}
        body = v2.encode(view_queue(seen, utc_now()))
        return HTTPResponse(body, headers=headers, content_type=JSON)


def view_queue(seen: QueueView, now: datetime) -> v2.Queue:
    head, totals, loads = seen.head, seen.totals, seen.loads
    return v2.Queue(
        queued=totals.queued,
        queued_is_exact=totals.queued_is_exact,
        held=totals.held,
        held_is_exact=totals.held_is_exact,
        oldest_queued_s=None if head.oldest is None else _since(head.oldest, now),
        items=[_item(task, now) for task in head.tasks],
        more=head.more,
        users=[
            v2.UserLoad(user=each.user, queued=each.queued, held=each.held, running=each.running)
            for each in loads.users
        ],
        users_are_exact=loads.exact,
    )


def _item(task: QueuedTask, now: datetime) -> v2.QueueItem:
    return v2.QueueItem(
        position=task.position,
        id=task.id,
        name=task.name,
        user=task.user,
        priority=task.priority,
        job=place_of(task.member),
        created_at=v2.stamp(task.submitted_at),
        waited_s=_since(task.submitted_at, now),
        needs=view_amounts(task.wants.amounts),
        image=task.image,
        placement=view_placement(task.wants),
    )


def _since(date: datetime, now: datetime) -> float:
    """By this gateway's clock, which may be behind the judicator's."""
    return round(max(0.0, (now - date).total_seconds()), 3)
