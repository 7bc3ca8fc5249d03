"""`GET /api/v2/tasks`: pages of tasks by a cursor; and their cancellation.

A cursor is a place in the order of submission and nothing else: no page is counted or skipped to
reach it, so the last page of a million costs what the first does, and a task submitted meanwhile
moves no row. Whoever needs a total asks KV2's interface, which counts.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import AlreadyDone, Rejected
from khala.model.ids import parse_task_id
from khala.model.task import TaskBrief, TaskState, brief_of
from khala.net.client import JudicatorClient
from khala.net.httpd import Routes
from khala.protocol import v2
from khala.protocol.rpc import ListTasks, Place
from roles.gateway.hub import row_of
from roles.gateway.pages import NOSNIFF
from roles.gateway.submission import parse_integer
from roles.gateway.times import parse_kv2_time

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
_NAMES = ("user", "state", "created_after", "created_before", "order", "cursor", "limit")
_CURSOR_CHARS = 64


class TaskLists(Struct, frozen=True, kw_only=True):
    client: JudicatorClient

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/api/v2/tasks", self.list_tasks)
        routes.add("POST", "/api/v2/tasks/<task_id:str>/cancel", self.cancel)

    async def list_tasks(self, request: Request) -> HTTPResponse:
        given = {name: str(values[0]) for name, values in request.args.items()}
        given.pop("token", None)  # the guard's; it is not repeated in a link either
        query = parse_query(given)
        found = await self.client.list_tasks(query)
        cursor = _cursor_of(found.tasks[-1]) if found.more else None
        headers = {**NOSNIFF, "Cache-Control": "no-store"}
        if cursor is not None:
            following = urlencode({**given, "cursor": cursor})
            headers["Link"] = f'</api/v2/tasks?{following}>; rel="next"'
        view = v2.Page(items=[row_of(brief) for brief in found.tasks], next_cursor=cursor)
        return HTTPResponse(v2.encode(view), headers=headers, content_type="application/json")

    async def cancel(self, _: Request, task_id: str) -> HTTPResponse:
        """Idempotent: a task that is cancelled already is answered as if it was just now."""
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


def parse_query(given: Mapping[str, str]) -> ListTasks:
    """Raise `Rejected` naming the first parameter that is not as it must be."""
    for name in given:
        if name not in _NAMES:
            raise Rejected(
                f"{name[:40]}: no such parameter; there are {', '.join(_NAMES)}", field=name[:40]
            )
    limit = parse_integer(given.get("limit", str(LIMIT_DEFAULT)), "limit")
    if not 1 <= limit <= LIMIT_MAX:
        raise Rejected(f"limit: 1 to {LIMIT_MAX} is possible, {limit} was given", field="limit")
    order = given.get("order", "newest")
    if order not in ("newest", "oldest"):
        raise Rejected(
            f"order: newest or oldest is needed, {order[:40]!r} was given", field="order"
        )
    return ListTasks(
        user=parse_integer(given["user"], "user") if "user" in given else None,
        states=_parse_states(given["state"]) if "state" in given else (),
        start=_parse_time(given, "created_after"),
        end=_parse_time(given, "created_before"),
        oldest_first=order == "oldest",
        after=_parse_cursor(given["cursor"]) if "cursor" in given else None,
        limit=limit,
    )


def _parse_states(text: str) -> tuple[TaskState, ...]:
    """A list with commas."""
    try:
        return tuple(dict.fromkeys(TaskState(word.strip()) for word in text.split(",")))
    except ValueError:
        raise Rejected(
            f"state: {text[:80]!r} is not a list of {', '.join(TaskState)}", field="state"
        ) from None


def _parse_time(given: Mapping[str, str], name: str) -> datetime | None:
    return parse_kv2_time(given[name], name) if name in given else None


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
