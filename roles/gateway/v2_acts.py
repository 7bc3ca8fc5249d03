"""What is done with tasks that exist: run again, forgotten.

Running again makes a new task, also as `retry`: a result is recorded once, and whoever read it must
be able to rely on that. The new one names the old one.
"""

from __future__ import annotations

import secrets

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.blob import BlobName
from khala.model.errors import NotDone
from khala.model.ids import parse_task_id
from khala.model.spec import Part, TaskOptions
from khala.model.task import TERMINAL, Task
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.rpc import SubmitTask
from khala.protocol.v2 import ProblemCode
from roles.gateway.callers import caller_of
from roles.gateway.config import GatewayConfig
from roles.gateway.documents import parse_document
from roles.gateway.hub import Hub
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, SUBMITTING, Answer, Operation, declare
from roles.gateway.ownership import Owned, owns, user_of
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.spec_rerun import COMMANDS, RerunSpec, overridden
from roles.gateway.submission import parse_key

_TASK = "/api/v2/tasks/<task_id:str>"
_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}
_rerun_decoder = msgspec.json.Decoder(RerunSpec)


_MADE = {201: Answer(v2.Created, headers=("Location", "Idempotency-Replayed"))}
_MAKING = (*SUBMITTING, ProblemCode.NOT_FOUND)


class TaskActs(Struct, frozen=True, kw_only=True):
    """The handlers, and what they need."""

    client: JudicatorClient
    config: GatewayConfig
    hub: Hub

    @declare(
        Operation(
            method="POST",
            path=f"{_TASK}/rerun",
            owned=Owned.USER,
            tag="Tasks",
            headers=("Idempotency-Key",),
            request={JSON: RerunSpec},
            body_optional=True,
            answers=_MADE,
            problems=_MAKING,
        )
    )
    async def rerun_task(self, request: Request, task_id: str) -> HTTPResponse:
        """Submit the same task again, with the given differences. The new one names this one as
        `rerun_of`. Of somebody else's task, a submitter makes one of its own."""
        task = await self.client.get(parse_task_id(task_id))
        try:
            given = parse_document(_rerun_decoder, request.body) if request.body else RerunSpec()
            caller = caller_of(request)
            again = overridden(await self._submission_of(task), given, self.config)
            if given.overrides.user is not None or not owns(caller, task.spec.user):
                user = user_of(caller, given.overrides.user, "/overrides/user")
                again = msgspec.structs.replace(again, user=user)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        return await self._submit(request, again)

    @declare(
        Operation(
            method="POST",
            path=f"{_TASK}/retry",
            owned=Owned.TASK,
            tag="Tasks",
            headers=("Idempotency-Key",),
            answers=_MADE,
            problems=(*_MAKING, ProblemCode.NOT_DONE),
        )
    )
    async def retry_task(self, request: Request, task_id: str) -> HTTPResponse:
        """Try a task that has ended once more, as a new task: a result never changes. The new one
        names this one as `rerun_of`."""
        task = await self.client.get(parse_task_id(task_id))
        if task.state not in TERMINAL:
            raise NotDone(f"task {task.id} is {task.state}; wait for its end, or use rerun")
        return await self._submit(request, await self._submission_of(task))

    async def _submission_of(self, task: Task) -> SubmitTask:
        chosen = {name: getattr(task.spec, name) for name in TaskOptions.__struct_fields__}
        parts: dict[Part, bytes] = {}
        blobs: dict[Part, BlobName] = {}
        for part, ref in task.spec.parts.items():
            if ref.inline is not None:
                parts[part] = ref.inline
            elif ref.blob and part not in COMMANDS:
                blobs[part] = BlobName(ref.sha256)
            else:
                # A script that is stored apart, or what an older version stored by its task.
                async with self.client.open_part(task.id, part) as pieces:
                    parts[part] = b"".join([piece async for piece in pieces])
        changed = {**chosen, "rerun_of": task.id, "needs": 0}
        return SubmitTask(**changed, parts=parts, blobs=blobs)

    async def _submit(self, request: Request, task: SubmitTask) -> HTTPResponse:
        # A key of our own makes our own repetitions safe.
        key = parse_key(request) or secrets.token_hex(16)
        submitted = await self.client.submit(msgspec.structs.replace(task, key=key))
        headers = {**_HEADERS, "Location": f"/api/v2/tasks/{submitted.id}"}
        if submitted.replay:
            headers["Idempotency-Replayed"] = "true"
        else:
            self.hub.accepted(submitted.id)
        links = v2.Links(self=headers["Location"], ui=f"/tasks/{submitted.id}")
        body = v2.encode(v2.Created(id=submitted.id, links=links))
        return HTTPResponse(body, status=201, headers=headers, content_type=JSON)

    @declare(
        Operation(
            method="DELETE",
            path=_TASK,
            owned=Owned.TASK,
            act="task.delete",
            tag="Tasks",
            answers={204: Answer(content="")},
            problems=(ProblemCode.NOT_FOUND, ProblemCode.NOT_DONE),
        )
    )
    async def forget_task(self, _: Request, task_id: str) -> HTTPResponse:
        """Forget a task that has ended, with its inputs, outputs and artifacts. This is not how
        one is cancelled."""
        await self.client.forget(parse_task_id(task_id))
        return HTTPResponse(None, status=204, headers=_HEADERS)
