"""Changes of tasks by a judicator's double: as the store's twin makes them."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Changed, NotFound, NotWaiting
from khala.model.ids import JobId, TaskId, mint_nonce
from khala.model.job import Job, JobSpec
from khala.model.ranges import up_to
from khala.model.task import Task, TaskState
from khala.net.httpd import Routes
from khala.protocol.jobs import HoldJob, JobView
from khala.protocol.rpc import Patched, PatchTask
from khala.store.memory import MemoryStore, run_now
from khala.store.memory_state import MemoryRow

AT = datetime(2026, 11, 24, tzinfo=UTC)


class PatchesDouble:
    """A part of `JudicatorDouble`."""

    def __init__(self, routes: Routes, tasks: dict[TaskId, Task]) -> None:
        self._tasks = tasks
        #: Tasks that are to be forgotten as they were, by request.
        self.told: list[dict[TaskId, str]] = []
        routes.add("POST", "/rpc/v1/tasks/<task_id:str>/patch", self.patch)
        routes.add("POST", "/rpc/v1/tasks/patched", self.patched)
        #: What is wanted of jobs.
        self.held_jobs: dict[str, bool] = {}
        routes.add("GET", "/rpc/v1/jobs/<job_id:str>", self.get_job)
        routes.add("POST", "/rpc/v1/jobs/<job_id:str>/hold", self.hold_job)

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

    async def get_job(self, _: Request, job_id: str) -> HTTPResponse:
        spec = JobSpec(user=1, indexes=up_to(3))
        job = Job(
            id=JobId(job_id),
            spec=spec,
            submitted_at=AT,
            updated_at=AT,
            held=self.held_jobs.get(job_id),
        )
        view = JobView(job=job, counts={TaskState.QUEUED: 3})
        return HTTPResponse(msgspec.msgpack.encode(view), content_type="application/msgpack")

    async def hold_job(self, request: Request, job_id: str) -> HTTPResponse:
        self.held_jobs[job_id] = msgspec.msgpack.decode(request.body, type=HoldJob).held
        return await self.get_job(request, job_id)

    async def patched(self, request: Request) -> HTTPResponse:
        self.told.append(msgspec.msgpack.decode(request.body, type=Patched).tasks)
        return HTTPResponse(status=204)
