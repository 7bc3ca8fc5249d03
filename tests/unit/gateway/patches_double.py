"""Changes of tasks by a judicator's double: as the store's twin makes them."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Changed, NotFound, NotWaiting
from khala.model.ids import TaskId, mint_nonce
from khala.model.task import Task
from khala.net.httpd import Routes
from khala.protocol.rpc import Patched, PatchTask
from khala.store.memory import MemoryStore, run_now
from khala.store.memory_state import MemoryRow


class PatchesDouble:
    """A part of `JudicatorDouble`."""

    def __init__(self, routes: Routes, tasks: dict[TaskId, Task]) -> None:
        self._tasks = tasks
        #: Tasks that are to be forgotten as they were, by request.
        self.told: list[dict[TaskId, str]] = []
        routes.add("POST", "/rpc/v1/tasks/<task_id:str>/patch", self.patch)
        routes.add("POST", "/rpc/v1/tasks/patched", self.patched)

    async def patch(self, request: Request, task_id: str) -> HTTPResponse:
        asked = msgspec.msgpack.decode(request.body, type=PatchTask)
        task = self._tasks.get(TaskId(task_id))
        if task is None:
            raise NotFound(f"task {task_id} does not exist")
        if asked.updated_at not in (None, task.updated_at):
            raise Changed
        if asked.patch.of_waiting and not task.waits:
            raise NotWaiting
        store = MemoryStore()
        row = MemoryRow(task=task, key=None, fingerprint=b"", lease=None)
        store.tasks._state.tasks[task.id] = row
        run_now(store.tasks.patch_if_next(asked.patch.item(task, mint_nonce())))
        self._tasks[task.id] = row.task
        body = msgspec.msgpack.encode(row.task)
        return HTTPResponse(body, content_type="application/msgpack")

    async def patched(self, request: Request) -> HTTPResponse:
        self.told.append(msgspec.msgpack.decode(request.body, type=Patched).tasks)
        return HTTPResponse(status=204)
