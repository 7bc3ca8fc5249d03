"""Changes of tasks over RPC; the contract is the docstring of `khala.protocol.rpc`."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.core.patching import Patching
from khala.model.errors import NotFound, NotWaiting, TooLarge
from khala.model.ids import TaskId, parse_task_id
from khala.model.limits import LIST_LIMIT_MAX
from khala.model.retention import check_own
from khala.model.task import Task
from khala.net.httpd import Routes
from khala.protocol.rpc import Patched, PatchTask
from roles.judicator.answers import answer, decode, done
from roles.judicator.jobs import Jobs

_decode_patch = msgspec.msgpack.Decoder(PatchTask).decode
_decode_patched = msgspec.msgpack.Decoder(Patched).decode


class PatchRoutes:
    """The handlers; errors are turned into `ErrorBody` by the app factory."""

    def __init__(self, patching: Patching, jobs: Jobs) -> None:
        self._patching = patching
        self._jobs = jobs

    def register(self, routes: Routes) -> None:
        routes.add("POST", "/rpc/v1/tasks/<task_id:str>/patch", self.patch)
        routes.add("POST", "/rpc/v1/tasks/patched", self.patched)

    async def patch(self, request: Request, task_id: str) -> HTTPResponse:
        known = parse_task_id(task_id)
        asked = decode(_decode_patch, request.body)
        try:
            check_own(asked.patch.retention_s, self._jobs.keep())
            return answer(await self._patching.patch(known, asked.patch, asked.updated_at))
        except NotFound:
            raise await self._not_made(known) from None

    async def _not_made(self, task: TaskId) -> NotWaiting:
        """Of a job's task that is a part of its job's document so far. It is not made for this: it
        would be one more than may be open at a time. Raise `NotFound`."""
        unmade: Task = await self._jobs.find_task(task)
        member = unmade.spec.member
        job = member.job if member is not None else ""
        if unmade.waits:
            return NotWaiting(
                f"task {task} is not made yet: job {job} makes it when its turn is near; change it"
                " then, or hold the job"
            )
        return NotWaiting(f"task {task} was never made: job {job} was stopped before")

    async def patched(self, request: Request) -> HTTPResponse:
        """A gateway had them changed by some judicator, and tells all of them."""
        told = decode(_decode_patched, request.body)
        if len(told.tasks) > LIST_LIMIT_MAX:
            raise TooLarge(
                f"tasks: {len(told.tasks)}, the limit is {LIST_LIMIT_MAX}", field="tasks"
            )
        self._patching.told(told.tasks)
        return done()
