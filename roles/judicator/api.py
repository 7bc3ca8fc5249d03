"""The Judicator's RPC over HTTP; the contract is the docstring of `khala.protocol.rpc`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.core.dependencies import Dependencies
from khala.core.dispatch import Dispatcher
from khala.model.blob import BlobName
from khala.model.cases import Span
from khala.model.dates import utc_now
from khala.model.errors import NotDone, NotFound, Rejected, TooLarge
from khala.model.ids import AttemptNo, parse_task_id
from khala.model.limits import BLOB_CHUNK_BYTES, LIST_LIMIT_MAX, OUTPUT_CHUNK_BYTES
from khala.model.outcome import Bundle, Chunked, Stream, StreamRef
from khala.model.spec import Part
from khala.model.statements import ChunkItem
from khala.model.task import Dispatch, Task
from khala.net.httpd import App, Routes, probe, say_ready
from khala.pki.node import EXECUTOR
from khala.protocol.rpc import Cancelled, ListTasks, SearchTasks, SubmitTask
from khala.protocol.wire import SUBPROTOCOL
from khala.store.protocols import (
    BlobStore,
    ForgettingStore,
    Lanes,
    OutputStore,
    PayloadStore,
    TaskStore,
)
from roles.judicator.access import caller_of
from roles.judicator.answers import answer, cancellation_in, decode, done, send
from roles.judicator.blobs import BlobRoutes
from roles.judicator.chores import Leadership
from roles.judicator.cluster import Cluster
from roles.judicator.events import Events
from roles.judicator.executors import ExecutorSockets, Socket
from roles.judicator.job_routes import JobRoutes
from roles.judicator.jobs import Jobs
from roles.judicator.log_routes import LogRoutes
from roles.judicator.metrics import Metrics
from roles.judicator.patch_routes import PatchRoutes
from roles.judicator.submit import Submissions

#: Who waited for a task asks for it at once; later, only the store knows whether it is still there.
RECENT_AGE = timedelta(seconds=30)
Name = TypeVar("Name", Part, Stream)
_decode_submit = msgspec.msgpack.Decoder(SubmitTask).decode
_decode_list = msgspec.msgpack.Decoder(ListTasks).decode
_decode_search = msgspec.msgpack.Decoder(SearchTasks).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the routes answer from."""

    dispatcher: Dispatcher
    submissions: Submissions
    jobs: Jobs
    tasks: TaskStore
    forgetting: ForgettingStore
    dependencies: Dependencies
    blobs: BlobStore
    #: Of tasks that an older version stored.
    payloads: PayloadStore
    outputs: OutputStore
    lanes: Lanes
    cluster: Cluster
    metrics: Metrics
    leadership: Leadership
    events: Events
    sockets: ExecutorSockets
    logs: LogRoutes


class Api:
    """The handlers; errors are turned into `ErrorBody` by the app factory."""

    def __init__(self, services: Services) -> None:
        self._s = services

    def register(self, app: App, routes: Routes) -> None:
        task = "/rpc/v1/tasks/<task_id:str>"
        routes.add("POST", "/rpc/v1/tasks", self.submit)
        routes.add("POST", "/rpc/v1/tasks/search", self.search)
        routes.add("POST", "/rpc/v1/tasks/list", self.list_tasks)
        routes.add("POST", "/rpc/v1/tasks/list/newer", self.list_tasks)
        routes.add("GET", task, self.get)
        routes.add("DELETE", task, self.cancel)
        routes.add("POST", f"{task}/forget", self.forget)
        routes.add("GET", f"{task}/parts/<part:str>", self.read_part)
        routes.add("GET", f"{task}/streams/<stream:str>", self.read_stream)
        routes.add("GET", f"{task}/artifacts", self.read_artifacts)
        routes.add(
            "PUT",
            "/rpc/v1/outputs/<task_id:str>/<attempt:int>/<stream:str>/<n:int>",
            self.put_chunk,
        )
        BlobRoutes(self._s.blobs).register(routes)
        self._s.logs.register(routes)
        JobRoutes(self._s.jobs, self._s.metrics).register(routes)
        PatchRoutes(self._s.dispatcher.patching, self._s.jobs).register(routes)
        routes.add("GET", "/rpc/v1/cluster", self.view_cluster)
        routes.add("GET", "/rpc/v1/metrics", self.view_metrics)
        routes.add("GET", "/livez", self.probe_live)
        routes.add("GET", "/readyz", self.probe_ready)
        routes.add("GET", "/leader", self.probe_leader)
        app.add_websocket_route(self.serve_executor, "/rpc/v1/executor", subprotocols=[SUBPROTOCOL])
        app.add_websocket_route(self.serve_events, "/rpc/v1/events", subprotocols=[SUBPROTOCOL])

    async def submit(self, request: Request) -> HTTPResponse:
        body = decode(_decode_submit, request.body)
        submitted = await self._s.submissions.submit(body)
        self._s.metrics.count_accepted(replay=submitted.replay)
        return answer(submitted)

    async def search(self, request: Request) -> HTTPResponse:
        query = decode(_decode_search, request.body)
        if query.offset < 0 or not 0 <= query.limit <= LIST_LIMIT_MAX:
            raise Rejected(f"limit: 0 to {LIST_LIMIT_MAX}, {query.limit} given", field="limit")
        return answer(await self._s.tasks.search(query))

    async def list_tasks(self, request: Request) -> HTTPResponse:
        query = decode(_decode_list, request.body)
        if not 1 <= query.limit <= LIST_LIMIT_MAX:
            raise Rejected(f"limit: 1 to {LIST_LIMIT_MAX}, {query.limit} given", field="limit")
        return answer(await self._s.tasks.list_tasks(query))

    async def get(self, request: Request, task_id: str) -> HTTPResponse:
        known = parse_task_id(task_id)
        recent = self._s.dispatcher.recent.get(known)
        if recent is not None and recent.updated_at > utc_now() - RECENT_AGE:
            return answer(recent)
        return answer(await self._s.jobs.find_task(known))

    async def forget(self, request: Request, task_id: str) -> HTTPResponse:
        """Every judicator is told, because each may remember it; one of them removes it."""
        known = parse_task_id(task_id)
        self._s.dispatcher.recent.forget(known)
        task = await self._s.jobs.find_task(known)
        if task.spec.member is not None:
            raise Rejected(
                f"task {known} is one of job {task.spec.member.job}, which keeps its tasks together"
            )
        if task.dispatch is Dispatch.DONE:
            await self._s.dependencies.settle_all([known])
        if await self._s.forgetting.forget_if_done([known]):
            raise NotDone(f"task {known} has not ended; cancel it first")
        return done()

    async def cancel(self, request: Request, task_id: str) -> HTTPResponse:
        known = parse_task_id(task_id)
        result = await self._s.jobs.cancel_task(known, cancellation_in(request.body))
        return answer(Cancelled(task=result.brief))

    async def read_part(self, request: Request, task_id: str, part: str) -> None:
        name = _member(Part, part)
        task = await self._s.jobs.find_task(parse_task_id(task_id))
        _require_holder(request, task)
        ref = task.spec.parts.get(name)
        if ref is None:
            raise NotFound(f"the task has no {name}", field="part")
        span = _span(request, name, ref.size_bytes)
        skip = span.first
        if ref.inline is not None:
            chunks = _once(ref.inline)
        elif ref.blob:
            number, skip = divmod(span.first, BLOB_CHUNK_BYTES)
            chunks = self._s.blobs.read(BlobName(ref.sha256), number)
        else:
            chunks = self._s.payloads.read_part(task.id, name)
        await send(request, _cut(chunks, skip, span.size_bytes), span.size_bytes)

    async def read_stream(self, request: Request, task_id: str, stream: str) -> None:
        name = _member(Stream, stream)
        task = await self._s.tasks.get(parse_task_id(task_id))
        if task.outcome is None or task.result_attempt is None:
            raise NotFound("the task has no result", field="stream")
        if "case" in request.args:
            await self._send_case(request, task, name)
            return
        ref = task.outcome.streams.get(name, StreamRef(size_bytes=0, inline=b""))
        chunks = (
            _once(ref.inline)
            if ref.inline is not None
            else self._s.outputs.read_stream(task.id, task.result_attempt, name)
        )
        await send(request, chunks, ref.size_bytes)

    async def _send_case(self, request: Request, task: Task, stream: Stream) -> None:
        outcome, number = task.outcome, _number(request.args.get("case"), "case")
        ref = outcome.case_outputs if outcome else None
        if outcome is None or ref is None or task.result_attempt is None:
            raise NotFound("the task has no outputs of cases", field="case")
        if not 1 <= number <= len(outcome.cases):
            raise NotFound(f"the task has cases 1 to {len(outcome.cases)}", field="case")
        span = outcome.case_span(number, stream)
        chunk, skip = divmod(span.first, OUTPUT_CHUNK_BYTES)
        if ref.inline is not None:
            chunks, skip = _once(ref.inline), span.first
        else:
            chunks = self._s.outputs.read_stream(task.id, task.result_attempt, Bundle.CASES, chunk)
        await send(request, _cut(chunks, skip, span.size_bytes), span.size_bytes)

    async def read_artifacts(self, request: Request, task_id: str) -> None:
        task = await self._s.tasks.get(parse_task_id(task_id))
        artifacts = task.outcome.artifacts if task.outcome else None
        if artifacts is None or task.result_attempt is None:
            raise NotFound("the task has no artifacts")
        span = _span(request, Bundle.ARTIFACTS, artifacts.size_bytes)
        number, skip = divmod(span.first, artifacts.chunk_bytes)
        chunks = self._s.outputs.read_stream(task.id, task.result_attempt, Bundle.ARTIFACTS, number)
        await send(request, _cut(chunks, skip, span.size_bytes), span.size_bytes)

    async def put_chunk(
        self, request: Request, task_id: str, attempt: int, stream: str, n: int
    ) -> HTTPResponse:
        if len(request.body) > OUTPUT_CHUNK_BYTES:
            raise TooLarge(
                f"chunk: {len(request.body)} bytes, the limit is {OUTPUT_CHUNK_BYTES}",
                field="chunk",
            )
        item = ChunkItem(
            id=parse_task_id(task_id),
            attempt=AttemptNo(attempt),
            stream=_chunked(stream),
            n=n,
            data=request.body,
        )
        await self._s.lanes.output(item)
        return done()

    async def view_cluster(self, request: Request) -> HTTPResponse:
        return answer(await self._s.cluster.view())

    async def view_metrics(self, request: Request) -> HTTPResponse:
        return answer(await self._s.metrics.view(self._s.tasks))

    async def probe_live(self, request: Request) -> HTTPResponse:
        """The event loop turns."""
        return probe(200, "live")

    async def probe_ready(self, request: Request) -> HTTPResponse:
        """A majority acknowledges writes; what an operator should know beside it is a warning."""
        if self._s.dispatcher.serving:
            return say_ready(self._s.cluster.warnings)
        alarms = "; ".join(self._s.cluster.etcd.sentences())
        return probe(503, alarms or "the store does not acknowledge writes")

    async def probe_leader(self, request: Request) -> HTTPResponse:
        """200 on the leader alone, for whoever must find it."""
        if self._s.leadership.term() is not None:
            return probe(200, "leader")
        return probe(503, "not the leader")

    async def serve_executor(self, request: Request, ws: Socket) -> None:
        peer = caller_of(request)
        await self._s.sockets.serve(ws, peer.name if peer and peer.role == EXECUTOR else None)

    async def serve_events(self, request: Request, ws: Socket) -> None:
        await self._s.events.serve(ws)


def _require_holder(request: Request, task: Task) -> None:
    """What was submitted is open to the executor that has the task, and to no other: on the hosts
    of executors strangers' programs run."""
    peer = caller_of(request)
    if peer is not None and peer.role == EXECUTOR and peer.name != task.executor:
        raise Rejected(f"executor {peer.name} does not have task {task.id}")


def _member(names: type[Name], text: str) -> Name:
    try:
        return names(text)
    except ValueError:
        known = ", ".join(names)
        raise NotFound(f"{text!r}: no such name, there are {known}") from None


def _chunked(text: str) -> Chunked:
    return Bundle(text) if text in frozenset(Bundle) else _member(Stream, text)


def _span(request: Request, name: str, size_bytes: int) -> Span:
    """What is asked for of so many bytes; all of them if nothing is said."""
    if "first" not in request.args:
        return Span(0, size_bytes)
    first, size = (_number(request.args.get(each), each) for each in ("first", "size"))
    if first + size > size_bytes:
        raise Rejected(
            f"size: {name}: there are {size_bytes} bytes, {size} were asked for from byte {first}"
            " on",
            field="size",
        )
    return Span(first, size)


async def _cut(chunks: AsyncIterator[bytes], skip: int, size: int) -> AsyncIterator[bytes]:
    """`size` bytes after the first `skip`; no chunk more is read than they are in."""
    left = size
    if not left:
        return
    async for chunk in chunks:
        piece = chunk[skip : skip + left]
        skip = 0
        left -= len(piece)
        yield piece
        if not left:
            return


def _number(text: str | None, name: str) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Rejected(f"{name}: a number is needed", field=name)
    return int(text)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
