"""`GET /api/v2/tasks`: pages of tasks by a cursor; and their cancellation.

A cursor is a place in the order of submission and nothing else: no page is counted or skipped to
reach it, so the last page of a million costs what the first does, and a task submitted meanwhile
moves no row. Whoever needs a total asks KV2's interface, which counts.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import AlreadyDone, Rejected
from khala.model.ids import parse_task_id
from khala.model.task import TaskBrief, TaskState, brief_of
from khala.net.client import JudicatorClient
from khala.protocol import v2
from khala.protocol.rpc import ListTasks, Place
from khala.protocol.v2 import ProblemCode
from roles.gateway.hub import row_of
from roles.gateway.operations import Answer, Operation, declare
from roles.gateway.pages import NOSNIFF
from roles.gateway.queries import given_in, parse_query
from roles.gateway.submission import INTEGER_MAX

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
_CURSOR_CHARS = 64


class Order(StrEnum):
    NEWEST = "newest"
    OLDEST = "oldest"


class ListQuery(Struct, frozen=True, kw_only=True):
    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None
    #: Any of these.
    state: tuple[TaskState, ...] = ()
    #: Bounds on submission, inclusive.
    created_after: datetime | None = None
    created_before: datetime | None = None
    #: Which comes first.
    order: Order = Order.NEWEST
    #: The `next_cursor` of the page before.
    cursor: Annotated[str, Meta(extra_json_schema={"maxLength": _CURSOR_CHARS})] | None = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT


class TaskLists(Struct, frozen=True, kw_only=True):
    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks",
            tag="Tasks",
            query=ListQuery,
            answers={200: Answer(v2.Page, headers=("Link",))},
        )
    )
    async def list_tasks(self, request: Request) -> HTTPResponse:
        """List tasks, by pages."""
        given = given_in(request)
        given.pop("token", None)  # the guard's; it is not repeated in a link
        query = parse_query(given, ListQuery)
        found = await self.client.list_tasks(_list_of(query))
        cursor = _cursor_of(found.tasks[-1]) if found.more else None
        headers = {**NOSNIFF, "Cache-Control": "no-store"}
        if cursor is not None:
            following = urlencode({**given, "cursor": cursor})
            headers["Link"] = f'</api/v2/tasks?{following}>; rel="next"'
        view = v2.Page(items=[row_of(brief) for brief in found.tasks], next_cursor=cursor)
        return HTTPResponse(v2.encode(view), headers=headers, content_type="application/json")

    @declare(
        Operation(
            method="POST",
            path="/api/v2/tasks/<task_id:str>/cancel",
            tag="Tasks",
            answers={200: Answer(v2.Row)},
            problems=(ProblemCode.NOT_FOUND, ProblemCode.ALREADY_DONE),
        )
    )
    async def cancel_task(self, _: Request, task_id: str) -> HTTPResponse:
        """Cancel a task; what runs of it is killed. Idempotent: a task that is cancelled already
        is answered as if it was just now."""
        known = parse_task_id(task_id)
        try:
            brief = await self.client.cancel(known)
        except AlreadyDone:
            brief = brief_of(await self.client.get(known))
            if brief.state is not TaskState.CANCELLED:
                raise
        return HTTPResponse(
            v2.encode(row_of(brief)), headers=NOSNIFF, content_type="application/json"
        )


def _list_of(query: ListQuery) -> ListTasks:
    return ListTasks(
        user=query.user,
        states=query.state,
        start=query.created_after,
        end=query.created_before,
        oldest_first=query.order is Order.OLDEST,
        after=_parse_cursor(query.cursor) if query.cursor is not None else None,
        limit=query.limit,
    )


def _cursor_of(last: TaskBrief) -> str:
    milliseconds = round(last.submitted_at.timestamp() * 1000)
    return urlsafe_b64encode(f"{milliseconds}.{last.id}".encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> Place:
    refused = Rejected(
        f"cursor: {text[:80]!r} is not the next_cursor of an answer; leave it out to begin",
        field="cursor",
    )
    if len(text) > _CURSOR_CHARS:
        raise refused
    try:
        decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
        milliseconds, _, task = decoded.partition(".")
        at = datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
        return Place(submitted_at=at, id=parse_task_id(task))
    except (ValueError, OverflowError, OSError, Rejected):
        raise refused from None
