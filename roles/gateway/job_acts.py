"""What is done with jobs that exist: held, cancelled, and those of their tasks that failed run
again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import Conflict
from khala.model.task import TaskState
from khala.net.client import JudicatorClient
from khala.net.httpd import Failure
from khala.protocol import v2
from khala.protocol.jobs import RetryJob
from khala.protocol.v2 import ProblemCode
from roles.gateway.callers import caller_of
from roles.gateway.documents import parse_document
from roles.gateway.issues import Invalid
from roles.gateway.jobs import JOB, JOBS, job_view
from roles.gateway.operations import JSON, Answer, Operation, declare
from roles.gateway.ownership import Owned, parse_job_id
from roles.gateway.pages import NOSNIFF, problem
from roles.gateway.spec_cancel import CancelSpec, cancellation_in
from roles.gateway.spec_patch import MERGE_PATCH
from roles.gateway.submission import parse_key

_HEADERS = {**NOSNIFF, "Cache-Control": "no-store"}


class Unsuccessful(StrEnum):
    """How a task may have ended that is to run again."""

    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"


class RetryJobSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body."""

    only: Annotated[tuple[Unsuccessful, ...], Meta(min_length=1, max_length=len(Unsuccessful))] = (
        Unsuccessful.FAILED,
        Unsuccessful.ERROR,
    )


class PatchJobSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another of a job."""

    #: Whether it is held; its tasks that were held by themselves are not released with it.
    held: bool | UnsetType | None = UNSET


_retry_decoder = msgspec.json.Decoder(RetryJobSpec)
_patch_decoder = msgspec.json.Decoder(PatchJobSpec)


class JobActs(Struct, frozen=True, kw_only=True):
    """The handlers, and what they need."""

    client: JudicatorClient

    @declare(
        Operation(
            method="PATCH",
            path=JOB,
            owned=Owned.JOB,
            act="job.patch",
            noted=("held",),
            tag="Jobs",
            request={JSON: PatchJobSpec, MERGE_PATCH: PatchJobSpec},
            answers={200: Answer(v2.Job)},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.ALREADY_DONE,
                ProblemCode.VALIDATION_FAILED,
            ),
        )
    )
    async def patch_job(self, request: Request, job_id: str) -> HTTPResponse:
        """Hold a job, or release it: none of its tasks begins meanwhile but those that an executor
        has."""
        job = parse_job_id(job_id, "id")
        try:
            given = parse_document(_patch_decoder, request.body)
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        if given.held is UNSET:
            seen = await self.client.get_job(job)
        else:
            seen = await self.client.hold_job(job, held=given.held or False)
        return HTTPResponse(v2.encode(job_view(seen)), headers=_HEADERS, content_type=JSON)

    @declare(
        Operation(
            method="POST",
            path=f"{JOB}/cancel",
            owned=Owned.JOB,
            act="job.cancel",
            noted=("reason", "by"),
            tag="Jobs",
            request={JSON: CancelSpec},
            body_optional=True,
            answers={200: Answer(v2.Job)},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.ALREADY_DONE,
                ProblemCode.VALIDATION_FAILED,
            ),
        )
    )
    async def cancel_job(self, request: Request, job_id: str) -> HTTPResponse:
        """Cancel a job: what has not begun never will, what runs is killed soon. Idempotent: what
        was said first stands, and its tasks have it, too."""
        job = parse_job_id(job_id, "id")
        try:
            said = cancellation_in(request.body, caller_of(request))
            view = job_view(await self.client.cancel_job(job, said))
        except Invalid as error:
            return problem(Failure(status=422, error=error))
        return HTTPResponse(v2.encode(view), headers=_HEADERS, content_type=JSON)

    @declare(
        Operation(
            method="POST",
            path=f"{JOB}/retry",
            owned=Owned.JOB,
            tag="Jobs",
            headers=("Idempotency-Key",),
            request={JSON: RetryJobSpec},
            body_optional=True,
            answers={201: Answer(v2.CreatedJob, headers=("Location", "Idempotency-Replayed"))},
            problems=(
                ProblemCode.NOT_FOUND,
                ProblemCode.QUOTA_EXCEEDED,
                ProblemCode.NOT_DONE,
                ProblemCode.ALREADY_DONE,
                ProblemCode.VALIDATION_FAILED,
                ProblemCode.IDEMPOTENCY_MISMATCH,
            ),
        )
    )
    async def retry_job(self, request: Request, job_id: str) -> HTTPResponse:
        """Run those tasks of an ended job again that did not succeed, as a job of their own with
        the same indexes. Without a key of its own, a repetition answers with the same job."""
        job = parse_job_id(job_id, "id")
        try:
            spec = parse_document(_retry_decoder, request.body) if request.body else RetryJobSpec()
            only = tuple(sorted(TaskState(each) for each in set(spec.only)))
            key = parse_key(request) or f"retry {job} {' '.join(only)}"
            made = await self.client.retry_job(job, RetryJob(only=only, key=key))
        except (Invalid, Conflict) as error:
            return problem(Failure(status=422, error=error))
        where = f"{JOBS}/{made.id}"
        headers = {**_HEADERS, "Location": where}
        if made.replay:
            headers["Idempotency-Replayed"] = "true"
        links = v2.Links(self=where, ui=f"/jobs/{made.id}")
        body = v2.CreatedJob(id=made.id, size=made.size, links=links)
        return HTTPResponse(v2.encode(body), status=201, headers=headers, content_type=JSON)
