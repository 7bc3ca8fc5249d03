"""A judicator that answers from a dictionary: what the gateway does with answers is under test,
not how they come about. Speaks the RPC of `khala.protocol.rpc` over a real socket."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import msgspec
from sanic import Request
from sanic.response import HTTPResponse
from sanic.server.websockets.impl import WebsocketImplProtocol

from khala.core.sessions import Sessions
from khala.model.enforcement import Enforcement, Mode
from khala.model.errors import AlreadyDone, KhalaError, NotDone, NotFound
from khala.model.executor import ExecutorRecord, JudicatorRecord, Owner, SessionState
from khala.model.ids import (
    AttemptNo,
    BootId,
    ExecutorName,
    Incarnation,
    JudicatorName,
    SessionNo,
    TaskId,
    mint_task_id,
)
from khala.model.metrics import MetricFamily, MetricSample
from khala.model.outcome import Outcome, Stream
from khala.model.spec import Part, PartRef, TaskSpec
from khala.model.statements import cancelled
from khala.model.task import Dispatch, Task, brief_of
from khala.net.auth import require_secret
from khala.net.httpd import App, Bind, Routes, Server, create_app, serve
from khala.net.request_ids import HEADER
from khala.net.rpc_errors import render_rpc_failure
from khala.net.secrets import SecretFile
from khala.protocol.rpc import (
    Cancelled,
    ClusterView,
    Event,
    ExecutorView,
    FollowLogs,
    ListTasks,
    LogGrew,
    MetricsView,
    SearchTasks,
    SortKey,
    SubmitTask,
    Submitted,
    TaskChanged,
    TaskPage,
    TaskRows,
    place_of,
)
from khala.protocol.wire import Codec
from khala.store.api import Direct
from khala.store.memory import MemoryStore
from roles.judicator.answers import cancellation_in
from roles.judicator.blobs import BlobRoutes
from roles.judicator.events import Events
from roles.judicator.log_routes import LogRoutes
from roles.judicator.logs import LiveRuns, Logs
from roles.judicator.metrics import Metrics
from roles.judicator.node_routes import NodeRoutes
from roles.judicator.uploads import UploadRoutes
from tests.unit.gateway.access_double import AccessDouble
from tests.unit.gateway.operations_double import OperationsDouble
from tests.unit.gateway.patches_double import PatchesDouble

START = datetime(2026, 11, 24, 0, 4, 8, 615000, tzinfo=UTC)


def cluster_view(address: str, *, serving: bool) -> ClusterView:
    """One judicator, one executor with free slots, one that is lost."""
    owner = Owner(judicator=JudicatorName("judicator"), incarnation=Incarnation("1"))
    record = ExecutorRecord(
        name=ExecutorName("executor.1"),
        id="6b04d4787d852fb9eb7f7a4e",
        session=SessionNo(1),
        boot=BootId("b"),
        state=SessionState.ONLINE,
        owner=owner,
        slots=4,
        version="1",
        enforcement="root, cgroup v1",
        enforces=Enforcement(mode=Mode.CGROUP_V1, root=True),
        seen_at=START,
    )
    return ClusterView(
        version="1",
        serving=serving,
        queued=1,
        leased=2,
        executors=[
            ExecutorView(record=record, free=3),
            ExecutorView(
                record=msgspec.structs.replace(
                    record, name=ExecutorName("gone"), state=SessionState.LOST
                ),
                free=None,
            ),
        ],
        judicators=[
            JudicatorRecord(
                name=JudicatorName("judicator"),
                address=address,
                incarnation=Incarnation("1"),
                leader=True,
            )
        ],
        notes=["One judicator: the cluster does not survive the loss of its host."],
    )


def metrics_view() -> MetricsView:
    sample = MetricSample(name="khala_tasks", labels={"state": "queued"}, value=7.0)
    family = MetricFamily(name="khala_tasks", kind="gauge", help="Open.", samples=[sample])
    return MetricsView(judicator=JudicatorName("judicator"), families=[family])


def _cancelled(task: Task, request: Request) -> Task:
    outcome = cancelled(cancellation_in(request.body))
    return msgspec.structs.replace(task, dispatch=Dispatch.DONE, outcome=outcome)


def logs_of(memory: MemoryStore) -> LogRoutes:
    return LogRoutes(
        logs=Logs(memory.tasks, memory.outputs, memory.live, lambda _: None),
        runs=LiveRuns(memory.live),
        lanes=Direct(memory.tasks, memory.outputs, memory.live),
        events=Events(lambda _: None),
        metrics=Metrics(JudicatorName("judicator")),
    )


def register_rest(
    routes: Routes, memory: MemoryStore, tasks: dict[TaskId, Task]
) -> tuple[AccessDouble, PatchesDouble, OperationsDouble]:
    """A judicator's routes on the memory store, which are not worth a double of their own; users,
    changes of tasks, and what operators ask."""
    BlobRoutes(memory.blobs).register(routes)
    UploadRoutes(memory.uploads).register(routes)
    NodeRoutes(Sessions(), memory.sessions).register(routes)
    logs_of(memory).register(routes)
    doubles = AccessDouble(routes), PatchesDouble(routes, tasks), OperationsDouble(routes)
    routes.finish()
    return doubles


def _in_order(tasks: Iterable[Task], query: SearchTasks | ListTasks) -> list[Task]:
    found = [task for task in tasks if query.user in (None, task.spec.user)]
    found.sort(key=lambda task: task.id, reverse=not query.oldest_first)
    if isinstance(query, ListTasks) and query.sort is SortKey.PRIORITY:
        found.sort(key=lambda task: task.spec.priority, reverse=not query.lowest_first)
    return found


def followed(frame: bytes) -> list[TaskId]:
    """Each one is told of at once, as a judicator does."""
    messages = msgspec.msgpack.decode(frame, type=list[FollowLogs])
    return [task for message in messages for task in message.tasks]


class JudicatorDouble:
    """`broken` makes every request fail with that error, until it is None again."""

    def __init__(self, secret_file: Path) -> None:
        self._secret = SecretFile(secret_file, flag="--secret-file")
        self.tasks: dict[TaskId, Task] = {}
        self.submitted: list[SubmitTask] = []
        self.memory = MemoryStore()
        self.searched: list[SearchTasks] = []
        self.keys: dict[str, TaskId] = {}
        #: Bytes of parts and outputs that are not inline.
        self.stored: dict[tuple[TaskId, str], bytes] = {}
        #: Parts of artifacts that were read: first byte and size.
        self.ranges: list[tuple[int, int]] = []
        self.broken: KhalaError | None = None
        #: Requests that are carried out but whose connection is closed before the answer.
        self.swallow = 0
        self.serving = True
        self.requests = 0
        self.request_ids: list[str] = []
        self.reads = 0
        #: At the cluster.
        self.looks = 0
        self._listeners: set[WebsocketImplProtocol] = set()
        self._codec = Codec(msgspec.msgpack.Decoder(list[Event]))
        self._server: Server | None = None

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.port}"

    async def start(self, port: int = 0) -> None:
        app = create_app("judicator", render_rpc_failure, body_bytes=80 * 1024 * 1024)
        require_secret(app, self._secret, render_rpc_failure)
        app.register_middleware(self._fail, "request")
        self._register(app)
        self._server = await serve(app, Bind(host="127.0.0.1", port=port, flag="--rpc-port"))

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close(0.2)

    def _register(self, app: App) -> None:
        task = "/rpc/v1/tasks/<task_id:str>"
        app.add_route(self.submit, "/rpc/v1/tasks", methods=["POST"])
        app.add_route(self.search, "/rpc/v1/tasks/search", methods=["POST"])
        for name in ("list", "list/newer"):
            app.add_route(self.list_tasks, f"/rpc/v1/tasks/{name}", methods=["POST"], name=name)
        app.add_route(self.get, task, methods=["GET"])
        app.add_route(self.cancel, task, methods=["DELETE"])
        app.add_route(self.forget, f"{task}/forget", methods=["POST"])
        app.add_route(self.read, f"{task}/parts/<name:str>", methods=["GET"])
        app.add_route(self.read, f"{task}/streams/<name:str>", methods=["GET"], name="streams")
        app.add_route(self.read_artifacts, f"{task}/artifacts", methods=["GET"])
        app.add_route(self.view, "/rpc/v1/cluster", methods=["GET"])
        app.add_route(self.metrics, "/rpc/v1/metrics", methods=["GET"])
        rest = register_rest(Routes(app), self.memory, self.tasks)
        self.access, self.patches, self.operations = rest
        app.add_websocket_route(self.events, "/rpc/v1/events", subprotocols=["khala.v1"])

    async def _fail(self, request: Request) -> None:
        self.requests += 1
        self.request_ids.append(request.headers.get(HEADER, ""))
        if self.broken is not None:
            raise self.broken

    async def _answer(self, request: Request, body: msgspec.Struct) -> HTTPResponse:
        if self.swallow:
            self.swallow -= 1
            cast(asyncio.Transport, request.transport).abort()
            await asyncio.sleep(3600)  # cancelled with the connection
        return HTTPResponse(msgspec.msgpack.encode(body), content_type="application/msgpack")

    async def submit(self, request: Request) -> HTTPResponse:
        body = msgspec.msgpack.decode(request.body, type=SubmitTask)
        self.submitted.append(body)
        replay = body.key is not None and body.key in self.keys
        if replay:
            assert body.key is not None
            return await self._answer(request, Submitted(id=self.keys[body.key], replay=True))
        task = self.add(body)
        if body.key is not None:
            self.keys[body.key] = task.id
        return await self._answer(request, Submitted(id=task.id, replay=False))

    def add(self, body: SubmitTask, outcome: Outcome | None = None) -> Task:
        size = sum(map(len, body.parts.values()))
        task_id = mint_task_id()
        parts: dict[Part, PartRef] = {}
        for part, data in body.parts.items():
            if not data:
                continue
            inline = data if size <= 16384 else None
            if inline is None:
                self.stored[task_id, part] = data
            digest = hashlib.sha256(data).hexdigest()
            parts[part] = PartRef(size_bytes=len(data), sha256=digest, inline=inline)
        task = Task(
            id=task_id,
            spec=TaskSpec.of(body, parts),
            dispatch=Dispatch.DONE if outcome else Dispatch.QUEUED,
            attempt=AttemptNo(1 if outcome else 0),
            crashes=0,
            submitted_at=START,
            updated_at=START,
            executor=ExecutorName("executor.1") if outcome else None,
            outcome=outcome,
            result_attempt=AttemptNo(1) if outcome else None,
        )
        self.tasks[task_id] = task
        return task

    def _find(self, task_id: str) -> Task:
        task = self.tasks.get(TaskId(task_id))
        if task is None:
            raise NotFound(f"task {task_id} does not exist")
        return task

    async def get(self, request: Request, task_id: str) -> HTTPResponse:
        self.reads += 1
        row = self.memory.tasks._state.tasks.get(TaskId(task_id))
        return await self._answer(request, row.task if row else self._find(task_id))

    async def cancel(self, request: Request, task_id: str) -> HTTPResponse:
        task = self._find(task_id)
        if task.outcome is not None:
            raise AlreadyDone
        ended = _cancelled(task, request)
        await self.change(ended)
        return await self._answer(request, Cancelled(task=brief_of(ended)))

    async def forget(self, _: Request, task_id: str) -> HTTPResponse:
        if self._find(task_id).outcome is None:
            raise NotDone
        return HTTPResponse(self.tasks.pop(TaskId(task_id)).id)

    async def change(self, task: Task, *, bring: bool = False) -> None:
        """Store a new state, a millisecond later than the last, and tell the listeners; `bring`
        them the whole task, too."""
        later = task.updated_at + timedelta(milliseconds=1)
        self.tasks[task.id] = task = msgspec.structs.replace(task, updated_at=later)
        await self.publish(TaskChanged(task=brief_of(task), ended=task if bring else None))

    async def publish(self, event: Event) -> None:
        for frame in self._codec.encode([event]):
            for listener in list(self._listeners):
                await listener.send(frame)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    async def search(self, request: Request) -> HTTPResponse:
        query = msgspec.msgpack.decode(request.body, type=SearchTasks)
        self.searched.append(query)
        found = [
            task for task in _in_order(self.tasks.values(), query) if query.id in (None, task.id)
        ]
        rows = found[query.offset :][: query.limit or None]
        page = TaskPage(total=len(found), tasks=[brief_of(task) for task in rows])
        return await self._answer(request, page)

    async def read_artifacts(self, request: Request, task_id: str) -> None:
        first, size = (int(request.args[name][0]) for name in ("first", "size"))
        self.ranges.append((first, size))
        await _send(request, self.stored[TaskId(task_id), "artifacts"][first : first + size])

    async def list_tasks(self, request: Request) -> HTTPResponse:
        query = msgspec.msgpack.decode(request.body, type=ListTasks)
        found = _in_order(self.tasks.values(), query)
        if query.after is not None:
            found = found[[task.id for task in found].index(query.after.id) + 1 :]
        rows = [brief_of(task) for task in found[: query.limit]]
        last = place_of(rows[-1], query.sort) if len(found) > query.limit else None
        return await self._answer(request, TaskRows(tasks=rows, more=last is not None, next=last))

    async def read(self, request: Request, task_id: str, name: str) -> None:
        await _send(request, self.stored[TaskId(task_id), name])

    async def view(self, request: Request) -> HTTPResponse:
        self.looks += 1
        return await self._answer(request, cluster_view(self.address, serving=self.serving))

    async def metrics(self, request: Request) -> HTTPResponse:
        return await self._answer(request, metrics_view())

    async def events(self, _: Request, ws: WebsocketImplProtocol) -> None:
        self._listeners.add(ws)
        try:
            while (frame := await ws.recv()) is not None:
                for task in followed(cast(bytes, frame)):
                    await self.publish(LogGrew(task=task))
        finally:
            self._listeners.discard(ws)

    def store(self, task: Task, stream: Stream, data: bytes) -> None:
        self.stored[task.id, stream] = data


async def hang_up(judicator: JudicatorDouble) -> None:
    """End every connection that events are told on."""
    for listener in list(judicator._listeners):
        await listener.close()


async def _send(request: Request, data: bytes) -> None:
    response = await request.respond(headers={"Content-Length": str(len(data))})
    for start in range(0, len(data), 100_000):
        await response.send(data[start : start + 100_000])
    await response.eof()
