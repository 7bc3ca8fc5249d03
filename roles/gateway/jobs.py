"""`/api/v2/jobs` and `/api/v2/tasks/batch`: many tasks in one request."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Conflict, KhalaError, Rejected
from khala.model.ids import JobId
from khala.model.job import state_of
from khala.model.limits import LIST_TASKS
from khala.model.task import TERMINAL, TaskState
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure, failure_of
from khala.net.rpc_errors import error_of
from khala.protocol import v2
from khala.protocol.jobs import BatchAnswer, JobView, ListJobs, ListMembers, SubmitBatch
from khala.protocol.rpc import SubmitTask
from khala.protocol.v2 import ProblemCode
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
from roles.gateway.config import GatewayConfig
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid
from roles.gateway.operations import JSON, SUBMITTING, Answer, Operation, declare
from roles.gateway.ownership import Owned, parse_job_id
from roles.gateway.pages import NOSNIFF, listed, problem, problem_of
from roles.gateway.plans import PlanQuery, plan_batch, plan_job
from roles.gateway.presets import Presets
from roles.gateway.queries import read_query
from roles.gateway.rows import row_of
from roles.gateway.spec_job import BatchSpecV2, JobBuilder, JobSpecV2, wrong_count
from roles.gateway.submission import INTEGER_MAX, parse_key
from roles.gateway.v2_create import JSON_FACTOR
from roles.gateway.v2_list import LIMIT_DEFAULT, LIMIT_MAX

JOBS = "/api/v2/jobs"
_CURSOR_CHARS = 64
JOB = f"{JOBS}/<job_id:str>"
Document = TypeVar("Document")
Limit = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
Cursor = Annotated[str, Meta(extra_json_schema={"maxLength": _CURSOR_CHARS})]

_job_decoder = msgspec.json.Decoder(JobSpecV2)
_batch_decoder = msgspec.json.Decoder(BatchSpecV2)


class JobsQuery(Struct, frozen=True, kw_only=True):
    user: Annotated[int, Meta(ge=0, le=INTEGER_MAX)] | None = None
    #: The `next_cursor` of the page before.
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class MembersQuery(Struct, frozen=True, kw_only=True):
    #: Any of these; those that an executor has are `running`.
    state: tuple[TaskState, ...] = ()
    #: The `next_cursor` of the page before.
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class JobRoutes(Struct, frozen=True, kw_only=True):
    """The handlers, and what they need."""

    client: JudicatorClient
    config: GatewayConfig
    budget: Budget

    @declare(
        Operation(
            method="POST",
            path=JOBS,
            owned=Owned.USER,
            tag="Jobs",
            query=PlanQuery,
            headers=("Idempotency-Key",),
            request={JSON: JobSpecV2},
            answers={
                200: Answer(v2.JobPlan),
                201: Answer(v2.CreatedJob, headers=("Location", "Idempotency-Replayed")),
            },
            problems=SUBMITTING,
            stream=True,
        )
    )
    async def create_job(self, request: Request) -> HTTPResponse:
        """Submit an array, or a list of tasks. It is accepted as a whole, and its tasks begin while
        there is room for them. With `dry_run`: 200 and what would hold."""
        try:
            key = parse_key(request) or secrets.token_hex(16)
            dry_run = read_query(request, PlanQuery).dry_run
            spec, _ = await self._read(request, _job_decoder)
            job = await self._builder(request).build(spec, key)
            if dry_run:
                return _json(await plan_job(self.client, job), 200, {})
            submitted = await self.client.submit_job(job)
        except KhalaError as error:
            return await _refuse(request, error)
        size = len(job.tasks) if job.indexes is None else job.indexes.size
        where = f"{JOBS}/{submitted.id}"
        headers = {"Location": where}
        if submitted.replay:
            headers["Idempotency-Replayed"] = "true"
        links = v2.Links(self=where, ui=f"/jobs/{submitted.id}")
        return _json(v2.CreatedJob(id=JobId(submitted.id), size=size, links=links), 201, headers)

    @declare(
        Operation(
            method="POST",
            path="/api/v2/tasks/batch",
            owned=Owned.USER,
            tag="Tasks",
            query=PlanQuery,
            headers=("Idempotency-Key",),
            request={JSON: BatchSpecV2},
            answers={200: Answer((v2.Batch, v2.BatchPlan))},
            problems=(ProblemCode.VALIDATION_FAILED,),
            stream=True,
        )
    )
    async def create_batch(self, request: Request) -> HTTPResponse:
        """Submit up to 1000 tasks. Each is accepted or refused by itself; with a key, all of them
        may be repeated together. With `dry_run` nothing is created, and each is told what it would
        get."""
        try:
            key = parse_key(request) or secrets.token_hex(16)
            dry_run = read_query(request, PlanQuery).dry_run
            spec, body = await self._read(request, _batch_decoder)
            if not 1 <= len(spec.tasks) <= LIST_TASKS:
                raise wrong_count(len(spec.tasks))
            made = await self._make(self._builder(request), spec, key)
            if dry_run:
                return _json(await plan_batch(self.client, made), 200, {})
            return _json(await self._submit(made, hashlib.sha256(body).digest()), 200, {})
        except KhalaError as error:
            return await _refuse(request, error)

    async def _make(
        self, builder: JobBuilder, spec: BatchSpecV2, key: str
    ) -> list[SubmitTask | Invalid]:
        prefix = hashlib.sha256(key.encode()).hexdigest()[:40]
        return [
            await builder.build_task(document, f"{prefix}.{index}", f"/tasks/{index}")
            for index, document in enumerate(spec.tasks)
        ]

    async def _submit(self, made: list[SubmitTask | Invalid], context: bytes) -> v2.Batch:
        sound = [
            msgspec.structs.replace(task, context=context)
            for task in made
            if not isinstance(task, Invalid)
        ]
        answers: Iterator[BatchAnswer] = iter(())
        if sound:
            answers = iter((await self.client.submit_batch(SubmitBatch(tasks=sound))).answers)
        items: list[v2.BatchItem] = []
        for index, task in enumerate(made):
            error: KhalaError | None = None
            answer = BatchAnswer()
            if isinstance(task, Invalid):
                error = task
            else:
                answer = next(answers)
                error = error_of(answer.refused) if answer.refused else None
            refused = problem_of(_unprocessable(error)) if error else None
            accepted_as = answer.submitted.id if answer.submitted else None
            items.append(v2.BatchItem(index=index, id=accepted_as, problem=refused))
        accepted = sum(item.id is not None for item in items)
        return v2.Batch(items=items, accepted=accepted)

    @declare(
        Operation(
            method="GET",
            path=JOBS,
            tag="Jobs",
            query=JobsQuery,
            headers=("If-None-Match",),
            answers={
                200: Answer(v2.JobPage, headers=("ETag",)),
                304: Answer(content="", headers=("ETag",)),
            },
        )
    )
    async def list_jobs(self, request: Request) -> HTTPResponse:
        """List jobs, newest first, by pages."""
        query = read_query(request, JobsQuery)
        before = None if query.cursor is None else parse_job_id(_opened(query.cursor), "cursor")
        page = await self.client.list_jobs(
            ListJobs(user=query.user, before=before, limit=query.limit)
        )
        cursor = _sealed(page.jobs[-1].job.id) if page.more else None
        view = v2.JobPage(items=[job_view(each) for each in page.jobs], next_cursor=cursor)
        return listed(request, view, {})

    @declare(
        Operation(
            method="GET",
            path=JOB,
            tag="Jobs",
            answers={200: Answer(v2.Job)},
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def get_job(self, _: Request, job_id: str) -> HTTPResponse:
        """Read a job, and how many of its tasks are in which state."""
        return _json(job_view(await self.client.get_job(parse_job_id(job_id, "id"))), 200, {})

    @declare(
        Operation(
            method="GET",
            path=f"{JOB}/tasks",
            tag="Jobs",
            query=MembersQuery,
            headers=("If-None-Match",),
            answers={
                200: Answer(v2.Page, headers=("ETag",)),
                304: Answer(content="", headers=("ETag",)),
            },
            problems=(ProblemCode.NOT_FOUND,),
        )
    )
    async def list_job_tasks(self, request: Request, job_id: str) -> HTTPResponse:
        """List a job's tasks in the order of their indexes, by pages."""
        query = read_query(request, MembersQuery)
        after = 0 if query.cursor is None else _position(query.cursor)
        rows = await self.client.list_members(
            parse_job_id(job_id, "id"),
            ListMembers(states=query.state, after=after, limit=query.limit),
        )
        cursor = None if rows.next_after is None else _sealed(str(rows.next_after))
        items = [row_of(brief) for brief in rows.tasks]
        return listed(request, v2.Page(items=items, next_cursor=cursor), {})

    def _builder(self, request: Request) -> JobBuilder:
        return JobBuilder(client=self.client, config=self.config, caller=caller_of(request))

    async def _read(
        self, request: Request, decoder: msgspec.json.Decoder[Document]
    ) -> tuple[Document, bytes]:
        limit_bytes = self.config.max_body_bytes
        announced = announced_bytes(request, limit_bytes)
        if announced > limit_bytes:
            raise too_large(limit_bytes)
        with self.budget.reserve(JSON_FACTOR * announced):
            body = await read_body(request, limit_bytes)
            whole = await Presets(client=self.client).apply(body)
            large = len(whole) > LARGE_BYTES
            return await off_loop(large, parse_document, decoder, whole), body


async def _refuse(request: Request, error: KhalaError) -> HTTPResponse:
    await drop_body(request)
    if isinstance(error, Invalid | Conflict):
        return problem(_unprocessable(error))
    raise error


def _unprocessable(error: KhalaError) -> Failure:
    """A document that is not as it must be."""
    if isinstance(error, Invalid | Conflict):
        return Failure(status=422, error=error)
    return failure_of(error)


def job_view(seen: JobView) -> v2.Job:
    job, spec = seen.job, seen.job.spec
    left = sum(count for state, count in seen.counts.items() if state not in TERMINAL)
    return v2.Job(
        id=job.id,
        user=spec.user,
        name=spec.name,
        state=state_of(seen.counts),
        done=not left,
        size=job.size,
        counts=v2.counts_of(seen.counts),
        array=None if spec.task is None else spec.indexes.text,
        limit=spec.limit,
        max_fails=spec.max_fails,
        stopped=job.stop,
        cancellation=job.cancellation,
        created_at=v2.stamp(job.submitted_at),
        updated_at=v2.stamp(job.updated_at),
        finished_at=None if job.done_at is None else v2.stamp(job.done_at),
        retry_of=spec.retry_of,
        held=bool(job.held),
    )


def _sealed(place: str) -> str:
    return urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _opened(cursor: str) -> str:
    try:
        return urlsafe_b64decode(cursor[:_CURSOR_CHARS] + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        raise _no_cursor(cursor) from None


def _position(cursor: str) -> int:
    text = _opened(cursor)
    if not text.isdecimal() or len(text) > 8:
        raise _no_cursor(cursor)
    return int(text)


def _no_cursor(cursor: str) -> Rejected:
    return Rejected(
        f"cursor: {cursor[:80]!r} is not the next_cursor of an answer; leave it out to begin",
        field="cursor",
    )


def _json(body: Struct, status: int, headers: dict[str, str]) -> HTTPResponse:
    return HTTPResponse(
        v2.encode(body),
        status=status,
        headers={**NOSNIFF, "Cache-Control": "no-store", **headers},
        content_type=JSON,
    )
