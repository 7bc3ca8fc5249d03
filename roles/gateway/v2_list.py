"""`GET /api/v2/tasks`: pages of tasks by a cursor; and their cancellation.

A cursor is a place in the order and nothing else: no page is counted or skipped to reach it, so the
last page of a million costs what the first does, and a task submitted meanwhile moves no row.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import AlreadyDone
from khala.model.ids import TaskId, parse_task_id
from khala.model.task import TaskState, brief_of
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.rpc import ListTasks, Place, SortKey, TaskRows, place_of
from khala.protocol.v2 import ProblemCode
from roles.gateway.callers import caller_of
from roles.gateway.cursors import CURSOR_CHARS, Cursor, read_cursor, write_cursor
from roles.gateway.filters import FilterSpec, filter_of
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.ownership import Owned
from roles.gateway.pages import NOSNIFF, listed, problem
from roles.gateway.queries import given_in, parse_query
from roles.gateway.rows import row_of
from roles.gateway.spec_cancel import CancelSpec, cancellation_in

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
_ID_DIGITS = 24


class Order(StrEnum):
    NEWEST = "newest"
    OLDEST = "oldest"


class ListQuery(FilterSpec, frozen=True, kw_only=True):
    #: What orders it; with `finished_at` only tasks that have ended are in it, and with `priority`
    #: the highest comes first.
    sort: SortKey = SortKey.CREATED_AT
    #: Which comes first; by priority, of those that have the same.
    order: Order = Order.NEWEST
    #: `next_cursor` or `prev_cursor` of a page with the same filters.
    cursor: Annotated[str, Meta(extra_json_schema={"maxLength": CURSOR_CHARS})] | None = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT


class TaskLists(Struct, frozen=True, kw_only=True):
    client: JudicatorClient

    @declare(
        Operation(
            method="GET",
            path="/api/v2/tasks",
            tag="Tasks",
            query=ListQuery,
            headers=("If-None-Match",),
            answers={
                200: Answer(
                    v2.Page,
                    headers=(
                        "ETag",
                        "Link",
                    ),
                ),
                304: Answer(content="", headers=("ETag",)),
            },
        )
    )
    async def list_tasks(self, request: Request) -> HTTPResponse:
        """List tasks, by pages."""
        given = given_in(request)
        query = parse_query(given, ListQuery)
        at = None if query.cursor is None else read_cursor(query.cursor, given)
        found = await self.client.list_tasks(list_of(query, at))
        page = page_of(found, query, at, given)
        links = [
            f'</api/v2/tasks?{urlencode({**given, "cursor": cursor})}>; rel="{rel}"'
            for rel, cursor in (("next", page.next_cursor), ("prev", page.prev_cursor))
            if cursor is not None
        ]
        return listed(request, page, {"Link": ", ".join(links)} if links else {})

    @declare(
        Operation(
            method="POST",
            path="/api/v2/tasks/<task_id:str>/cancel",
            owned=Owned.TASK,
            act="task.cancel",
            noted=("reason", "by"),
            tag="Tasks",
            request={JSON: CancelSpec},
            body_optional=True,
            answers={200: Answer(v2.Row)},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.ALREADY_DONE,
                ProblemCode.VALIDATION_FAILED,
            ),
        )
    )
    async def cancel_task(self, request: Request, task_id: str) -> HTTPResponse:
        """Cancel a task; what runs of it is killed. Idempotent: a task that is cancelled already
        is answered as if it was just now, with what was said then."""
        known = parse_task_id(task_id)
        try:
            said = cancellation_in(request.body, caller_of(request))
            brief = await self.client.cancel(known, said)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        except AlreadyDone:
            brief = brief_of(await self.client.get(known))
            if brief.state is not TaskState.CANCELLED:
                raise
        return HTTPResponse(v2.encode(row_of(brief)), headers=NOSNIFF, content_type=JSON)


def list_of(query: ListQuery, after: Cursor | None) -> ListTasks:
    """The question to a judicator; a page towards the beginning is read from its end."""
    backward = after is not None and after.backward
    return ListTasks(
        **msgspec.structs.asdict(filter_of(query)),
        sort=query.sort,
        oldest_first=(query.order is Order.OLDEST) is not backward,
        lowest_first=backward,
        after=after.place if after else None,
        count=after is None,
        limit=query.limit,
    )


def page_of(found: TaskRows, query: ListQuery, at: Cursor | None, given: dict[str, str]) -> v2.Page:
    """Both cursors: the one on the way goes on, the other goes back from where it began."""
    backward = at is not None and at.backward
    rows = found.tasks[::-1] if backward else found.tasks

    def write(place: Place | None, *, back: bool) -> str | None:
        if place is None:
            return None
        return write_cursor(Cursor(place=place, backward=back), given)

    turn = _turn(query, at) if at else None
    first, last = (place_of(rows[end], query.sort) if rows else turn for end in (0, -1))
    return v2.Page(
        items=[row_of(brief) for brief in rows],
        next_cursor=write(last if backward else found.next, back=False),
        prev_cursor=write(found.next if backward else first if at else None, back=True),
        total=found.total,
        total_is_exact=found.total_is_exact,
    )


def _turn(query: ListQuery, at: Cursor) -> Place | None:
    """Where one turns round who has found nothing: the first place there can be behind that of the
    cursor, so that the row which stood there is found again. The last of all ids has none."""
    step = 1 if list_of(query, at).oldest_first else -1
    number = int(at.place.id, 16) + step
    if not 0 <= number < 16**_ID_DIGITS:
        return None
    return replace(at.place, id=TaskId(f"{number:0{_ID_DIGITS}x}"))
