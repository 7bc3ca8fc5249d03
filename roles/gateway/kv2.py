"""KV2's HTTP interface, `/api/*`, as its clients know it.

Every outcome is HTTP 200 and an integer `result`, except where KV2 crashed: a cluster that cannot
answer is 503 with `result` 1 (504 if the request may have taken effect). What was wrong with a
request is said in a header, because the golden bodies have no room for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.errors import (
    AlreadyDone,
    KhalaError,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    TooLarge,
    Unavailable,
)
from khala.model.executor import SessionState
from khala.model.ids import TaskId, parse_task_id
from khala.model.limits import LIST_LIMIT_MAX
from khala.model.outcome import Cancellation, Stream
from khala.model.spec import Part
from khala.model.task import Task
from khala.net.client import JudicatorClient
from khala.net.httpd import Routes, failure_of
from khala.protocol.rpc import SearchTasks
from roles.gateway.admission import Admission
from roles.gateway.bodies import Budget, announced_bytes, drop_body, read_body, too_large
from roles.gateway.callers import Caller, RoleTooLow, caller_of, check_role
from roles.gateway.cluster import Cluster
from roles.gateway.config import GatewayConfig
from roles.gateway.forms import parse_form
from roles.gateway.hub import Hub
from roles.gateway.kv2_view import (
    CUT_TEXT_BYTES,
    FULL_TEXT_BYTES,
    Json,
    encode,
    has_result,
    refs_shown,
    view_brief,
    view_task,
)
from roles.gateway.operations import Operation
from roles.gateway.ownership import Owned, user_of
from roles.gateway.pages import NOSNIFF
from roles.gateway.submission import INTEGER_MAX, parse_integer, parse_key, task_of_form
from roles.gateway.texts import TextRef, load_heads, part_ref, stream_ref
from roles.gateway.times import kv2_time, parse_kv2_time

#: The name under which KV2's etcd knew a judicator.
JUDICATOR_KEY = "/judicator/service/"
#: Work on a body or a text above this leaves the event loop to the others.
LARGE_BYTES = 1024 * 1024
#: A text in JSON can take six bytes for each of its own ("\\ufffd"), and is held twice.
JSON_FACTOR = 8
DETAIL_CHARS = 300

_ZIPS = {Part.COMPILE_SOURCE, Part.EXECUTE_DATA}
_PARTS = {part.value: part for part in Part}
_STREAMS = {stream.value: stream for stream in Stream}
_JSON = "application/json"
#: Where the second API has the same: `successor-version` of RFC 5829.
_TASKS, _NODES = "/api/v2/tasks", "/api/v2/nodes"

#: What the addresses need of who asks, in the words of the second API.
_READ = Operation(method="GET", path="/api/task", tag="KV2", answers={})
_CHANGE = Operation(method="POST", path="/api/task", tag="KV2", answers={})
_CANCEL = Operation(
    method="DELETE",
    path="/api/task",
    tag="KV2",
    answers={},
    owned=Owned.TASK,
    act="task.cancel",
)

Answer = Callable[[Request], Coroutine[object, object, HTTPResponse | None]]


class Kv2(Struct, frozen=True, kw_only=True):
    """The handlers, and what they answer from."""

    client: JudicatorClient
    cluster: Cluster
    config: GatewayConfig
    budget: Budget
    hub: Hub
    admission: Admission

    def register(self, routes: Routes) -> None:
        task = "/api/task"
        listed: Mapping[str, Json] = {"pages": 0, "tasks": []}
        executors: Mapping[str, Json] = {"executors": []}
        judicators: Mapping[str, Json] = {"judicators": []}
        routes.add("GET", "/api/test", self.answer_test)

        def answering(
            empty: Mapping[str, Json], answer: Answer, successor: str, needs: Operation = _READ
        ) -> Answer:
            return _answering(empty, _admitting(self.admission, answer, needs), successor)

        routes.add("POST", task, answering({"id": None}, self.add, _TASKS, _CHANGE), stream=True)
        routes.add("DELETE", task, answering({}, self.cancel, _TASKS, _CHANGE))
        routes.add("GET", task, answering({"task": None}, self.get, _TASKS))
        routes.add("GET", "/api/task/list", answering(listed, self.list, _TASKS))
        routes.add("GET", "/api/executors", answering(executors, self.list_executors, _NODES))
        # It has an answer of its own to a cluster that says nothing.
        judicators_of = _answering(judicators, self.list_judicators, _NODES)
        routes.add("GET", "/api/judicators", judicators_of)

    async def answer_test(self, _: Request) -> HTTPResponse:
        return HTTPResponse(
            "Khala gateway server is working.",
            headers=NOSNIFF,
            content_type="text/html; charset=utf-8",
        )

    async def add(self, request: Request) -> HTTPResponse:
        try:
            return await self._add(request, caller_of(request))
        except KhalaError:
            await drop_body(request)
            raise

    async def _add(self, request: Request, caller: Caller) -> HTTPResponse:
        limit_bytes = self.config.max_body_bytes
        announced = announced_bytes(request, limit_bytes)
        if announced > limit_bytes:
            raise too_large(limit_bytes)
        key = parse_key(request)
        with self.budget.reserve(announced):
            body = await read_body(request, limit_bytes)
            content_type = request.headers.get("content-type", "")
            # A key of our own makes our own repetitions safe.
            form_key = key or secrets.token_hex(16)
            if len(body) > LARGE_BYTES:
                task = await asyncio.to_thread(
                    lambda: task_of_form(parse_form(content_type, body), self.config, form_key)
                )
            else:
                task = task_of_form(parse_form(content_type, body), self.config, form_key)
            user_of(caller, task.user, "user")
            submitted = await self.client.submit(task)
        if not submitted.replay:
            self.hub.accepted(submitted.id)
        replayed = {"Idempotency-Replayed": "true"} if submitted.replay else {}
        return HTTPResponse(
            f'{{"id":"{submitted.id}","result":0}}\n',
            headers={**NOSNIFF, **replayed},
            content_type=_JSON,
        )

    async def cancel(self, request: Request) -> HTTPResponse:
        caller, task = caller_of(request), _task_id(_query(request))
        said = Cancellation(by=caller.name) if caller.name else None
        async with self.admission.through(request, _CANCEL, {"task_id": task}) as ending:
            await self.client.cancel(task, said)
            ending.status = 200
        return _json({"result": 0})

    async def list(self, request: Request) -> HTTPResponse:
        query = _query(request)
        limit = parse_integer(query.get("limit", "0"), "limit")
        page = parse_integer(query.get("page", "0"), "page")
        start, end = query.get("start_time"), query.get("end_time")
        found = await self.client.search(
            SearchTasks(
                id=parse_task_id(query["id"]) if "id" in query else None,
                user=parse_integer(query["user"], "user") if "user" in query else None,
                start=parse_kv2_time(start, "start_time") if start else None,
                end=parse_kv2_time(end, "end_time") if end else None,
                oldest_first=bool(query.get("old_to_new")),
                offset=min(page * limit, INTEGER_MAX),
                limit=min(limit, LIST_LIMIT_MAX),
            )
        )
        pages = -(-found.total // limit) if limit else min(found.total, 1)
        tasks: list[Json] = [dict(view_brief(brief)) for brief in found.tasks]
        return _json({"pages": pages, "result": 0, "tasks": tasks})

    async def get(self, request: Request) -> HTTPResponse | None:
        query = _query(request)
        file = query.get("file")
        if file:
            return await self._download(request, query, file)
        task = await self.client.get(_task_id(query))
        truncate = not query.get("no_truncate")
        refs = refs_shown(task)
        head_bytes = CUT_TEXT_BYTES if truncate else FULL_TEXT_BYTES
        size = sum(min(ref.size_bytes, head_bytes) for ref in refs)
        with self.budget.reserve(JSON_FACTOR * size if size > LARGE_BYTES else 0):
            heads = await load_heads(self.client, task, refs, head_bytes)

            def build() -> HTTPResponse:
                return _json({"result": 0, "task": view_task(task, heads, truncate=truncate)})

            return await asyncio.to_thread(build) if size > LARGE_BYTES else build()

    async def _download(
        self, request: Request, query: Mapping[str, str], file: str
    ) -> HTTPResponse | None:
        try:
            task = await self.client.get(_task_id(query))
        except Rejected as error:
            raise _NoFile(error.message) from error
        ref = _file_ref(task, file)
        kind = "zip" if ref.name in _ZIPS else "txt"
        headers = {
            **NOSNIFF,
            "Content-Disposition": f"attachment; filename={task.id}_{file}.{kind}",
            "Content-Length": str(ref.size_bytes),
            "Cache-Control": "no-store",
        }
        content_type = "application/zip" if kind == "zip" else "plain/text"
        if ref.inline is not None or request.method == "HEAD":
            return HTTPResponse(ref.inline or b"", headers=headers, content_type=content_type)
        # The first piece is there before anything is promised: a failure up to here is a 503.
        async with _opened(self.client, task.id, ref) as pieces:
            first = await anext(pieces, b"")
            response = await request.respond(headers=headers, content_type=content_type)
            await response.send(first)
            async for piece in pieces:
                await response.send(piece)
            await response.eof()
        return None

    async def list_executors(self, _: Request) -> HTTPResponse:
        seen = await self.cluster.view()
        executors: list[Json] = [
            {
                "hostname": executor.record.name,
                "id": executor.record.id,
                "report_time": kv2_time(executor.record.seen_at),
            }
            for executor in seen.executors
            if executor.record.state is not SessionState.LOST
        ]
        return _json({"executors": executors, "result": 0})

    async def list_judicators(self, request: Request) -> HTTPResponse:
        try:
            check_role(caller_of(request), Role.VIEWER)
            seen = (await self.cluster.view()).judicators
        except RateLimited:
            raise
        except Unavailable:
            seen = []  # KV2's answer when there is none
        judicators: list[Json] = [
            {"address": judicator.record.address, "name": JUDICATOR_KEY + judicator.record.name}
            for judicator in seen
        ]
        return _json({"judicators": judicators, "result": 0})


class _NoFile(NotFound):
    """There is no such file; unlike every other outcome, KV2 says so with a 404 page."""


def _file_ref(task: Task, file: str) -> TextRef:
    """Raise `_NoFile` for a part that is empty and for outputs that are not there yet."""
    part, stream = _PARTS.get(file), _STREAMS.get(file)
    if part is not None and part in task.spec.parts:
        return part_ref(task, part)
    if stream is not None and has_result(task):
        return stream_ref(task, stream)
    raise _NoFile(f"task {task.id} has no file {file[:60]!r}")


@asynccontextmanager
async def _opened(
    client: JudicatorClient, task: TaskId, ref: TextRef
) -> AsyncIterator[AsyncIterator[bytes]]:
    opened = (
        client.open_part(task, ref.name)
        if isinstance(ref.name, Part)
        else client.open_stream(task, ref.name)
    )
    async with opened as pieces:
        yield pieces


def _query(request: Request) -> dict[str, str]:
    """Parameters of the address; of several with one name the first counts."""
    query: dict[str, str] = {}
    for name, value in parse_qsl(request.query_string, keep_blank_values=True):
        query.setdefault(name, value)
    return query


def _task_id(query: Mapping[str, str]) -> TaskId:
    return parse_task_id(query.get("id", ""))


def _json(body: Mapping[str, Json]) -> HTTPResponse:
    return HTTPResponse(encode(body), headers=NOSNIFF, content_type=_JSON)


#: First match wins.
_RESULTS: tuple[tuple[type[KhalaError], int], ...] = (
    (NotFound, 2),
    (AlreadyDone, 2),
    (TooLarge, 3),
    (Rejected, 4),
    (Unavailable, 1),
    (OutcomeUnknown, 1),
)


def _admitting(admission: Admission, answer: Answer, needs: Operation) -> Answer:
    async def admitted(request: Request) -> HTTPResponse | None:
        await admission.admit(request, caller_of(request), needs, {})
        return await answer(request)

    return admitted


def _answering(empty: Mapping[str, Json], answer: Answer, successor: str) -> Answer:
    """Turns errors into `result` codes beside the `empty` fields of this address, and says where
    the `successor` is. Who may not ask at all is told so as everywhere else."""
    link = f'<{successor}>; rel="successor-version"'

    async def answer_always(request: Request) -> HTTPResponse | None:
        try:
            response = await answer(request)
        except _NoFile:
            raise
        except RoleTooLow:
            await drop_body(request)
            raise
        except (Rejected, Unavailable, OutcomeUnknown) as error:
            response = _refuse(empty, error)
        if response is not None:
            response.headers["Link"] = link
        return response

    return answer_always


def _refuse(empty: Mapping[str, Json], error: KhalaError) -> HTTPResponse:
    result = next(code for kind, code in _RESULTS if isinstance(error, kind))
    detail = error.message.encode("ascii", "replace").decode().replace("\r", " ")
    headers = {**NOSNIFF, "Khala-Detail": detail.replace("\n", " ")[:DETAIL_CHARS]}
    status = 200
    if isinstance(error, Unavailable):
        failure = failure_of(error)
        status = failure.status
        headers |= failure.headers
    elif isinstance(error, OutcomeUnknown):
        status = 504
    body = encode({**empty, "result": result})
    return HTTPResponse(body, status=status, headers=headers, content_type=_JSON)
