"""`POST /api/v2/tasks`: a task document, checked as a whole, into a durable task."""

from __future__ import annotations

import secrets

from msgspec import Struct
from msgspec.structs import replace
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Conflict, KhalaError, Rejected
from khala.model.task import TERMINAL
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from roles.gateway.bodies import (
    LARGE_BYTES,
    Budget,
    announced_bytes,
    drop_body,
    off_loop,
    read_body,
    too_large,
)
from roles.gateway.callers import caller_of
from roles.gateway.cluster import Cluster
from roles.gateway.config import GatewayConfig
from roles.gateway.forms import parse_form
from roles.gateway.hub import Hub
from roles.gateway.issues import Invalid
from roles.gateway.media import type_of
from roles.gateway.operations import JSON, SUBMITTING, Answer, Operation, declare
from roles.gateway.ownership import Owned, user_of
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.pending import load_pending
from roles.gateway.plans import PlanQuery, plan_of
from roles.gateway.presets import Presets
from roles.gateway.queries import read_query
from roles.gateway.spec import TaskSpecV2, parse_spec
from roles.gateway.spec_blobs import load_blobs
from roles.gateway.spec_files import inflates
from roles.gateway.spec_task import TaskDocument, task_of_spec
from roles.gateway.submission import parse_key, parse_traceparent
from roles.gateway.waiting import Wait, answer_task, parse_wait, wait_end

TASKS = "/api/v2/tasks"
#: A body of JSON is held as it came, as texts and as the task that is made of them.
JSON_FACTOR = 3
_MULTIPART = "multipart/form-data"


class CreateQuery(PlanQuery, frozen=True, kw_only=True):
    #: So long at the most, for the end of the task.
    wait: Wait | None = None


class V2Create(Struct, frozen=True, kw_only=True):
    """The handler, and what it needs."""

    client: JudicatorClient
    cluster: Cluster
    config: GatewayConfig
    budget: Budget
    hub: Hub

    @declare(
        Operation(
            method="POST",
            path=TASKS,
            owned=Owned.USER,
            tag="Tasks",
            query=CreateQuery,
            headers=("Idempotency-Key", "traceparent"),
            request={JSON: TaskSpecV2, _MULTIPART: TaskSpecV2},
            answers={
                200: Answer((v2.Task, v2.Plan), headers=("Location", "Idempotency-Replayed")),
                201: Answer(v2.Created, headers=("Location", "Idempotency-Replayed")),
                202: Answer(v2.Task, headers=("Location", "Idempotency-Replayed")),
            },
            problems=SUBMITTING,
            stream=True,
        )
    )
    async def create_task(self, request: Request) -> HTTPResponse:
        """Submit a task. With `wait`: 200 and the task when it has ended, 202 and the task as it is
        when the time is up. With `dry_run`: 200 and what would hold."""
        try:
            return await self._create(request)
        except KhalaError as error:
            await drop_body(request)
            if isinstance(error, Invalid | Conflict):
                return problem(Failure(status=422, error=error))
            raise

    async def _create(self, request: Request) -> HTTPResponse:
        limit_bytes = self.config.max_body_bytes
        announced = announced_bytes(request, limit_bytes)
        if announced > limit_bytes:
            raise too_large(limit_bytes)
        # A key of our own makes our own repetitions safe.
        key = parse_key(request) or secrets.token_hex(16)
        query = read_query(request, CreateQuery)
        wait_s = parse_wait(query.wait)
        with self.budget.reserve(JSON_FACTOR * announced):
            body = await read_body(request, limit_bytes)
            large = len(body) > LARGE_BYTES
            spec, parts = await off_loop(large, _parts_of_body, request, body)
            spec = await Presets(client=self.client).apply(spec)
            given = await off_loop(large, parse_spec, spec)
            given = replace(given, user=user_of(caller_of(request), given.user))
            document = TaskDocument(spec=given, parts=parts)
            blobs = await load_blobs(self.client, document.spec, limit_bytes)
            large = large or bool(blobs.contents) or inflates(document.spec)
            task = await off_loop(large, task_of_spec, document, blobs, self.config, key)
            if query.dry_run:
                return _json(plan_of(task, blobs.sizes), 200, {})
            task = replace(task, traceparent=parse_traceparent(request))
            submitted = await self.client.submit(task)
        if not submitted.replay:
            self.hub.accepted(submitted.id)
        headers = {"Location": f"{TASKS}/{submitted.id}"}
        if submitted.replay:
            headers["Idempotency-Replayed"] = "true"
        if wait_s:
            ended = await wait_end(self.client, self.hub, submitted.id, wait_s)
            status = 200 if ended.state in TERMINAL else 202
            return await answer_task(
                self.client,
                ended,
                {**NOSNIFF, "Cache-Control": "no-store", **headers},
                status,
                pending=await load_pending(self.cluster, ended),
            )
        links = v2.Links(self=headers["Location"], ui=f"/tasks/{submitted.id}")
        return _json(v2.Created(id=submitted.id, links=links), 201, headers)


def _parts_of_body(request: Request, body: bytes) -> tuple[bytes, dict[str, bytes]]:
    """A document alone, or one in the part `spec` beside the parts it refers to."""
    if type_of(request) != _MULTIPART:
        return body, {}
    form = parse_form(request.headers["content-type"], body)
    parts = {name: text.encode() for name, text in form.texts.items()} | form.files
    spec = parts.pop("spec", None)
    if spec is None:
        raise Rejected("spec: the body has no part of this name; it holds the task document")
    return spec, parts


def _json(body: Struct, status: int, headers: dict[str, str]) -> HTTPResponse:
    return HTTPResponse(
        v2.encode(body),
        status=status,
        headers={**NOSNIFF, "Cache-Control": "no-store", **headers},
        content_type=JSON,
    )
