"""Jobs and batches over RPC; the contract is the docstring of `khala.protocol.rpc`."""

from __future__ import annotations

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import NotFound, Rejected
from khala.model.ids import JobId, parse_task_id
from khala.model.job import is_job_id
from khala.model.limits import LIST_LIMIT_MAX
from khala.net.httpd import Routes
from khala.protocol.jobs import (
    HoldJob,
    ListJobs,
    ListMembers,
    RetryJob,
    SubmitBatch,
    SubmitJob,
    SubmittedBatch,
)
from roles.judicator.answers import answer, cancellation_in, decode
from roles.judicator.job_holding import hold
from roles.judicator.jobs import Jobs
from roles.judicator.metrics import Metrics
from roles.judicator.retrying import retry

_decode_batch = msgspec.msgpack.Decoder(SubmitBatch).decode
_decode_submit = msgspec.msgpack.Decoder(SubmitJob).decode
_decode_list = msgspec.msgpack.Decoder(ListJobs).decode
_decode_retry = msgspec.msgpack.Decoder(RetryJob).decode
_decode_hold = msgspec.msgpack.Decoder(HoldJob).decode
_decode_members = msgspec.msgpack.Decoder(ListMembers).decode


class JobRoutes:
    """The handlers; errors are turned into `ErrorBody` by the app factory."""

    def __init__(self, jobs: Jobs, metrics: Metrics) -> None:
        self._jobs = jobs
        self._metrics = metrics

    def register(self, routes: Routes) -> None:
        job = "/rpc/v1/jobs/<job_id:str>"
        routes.add("POST", "/rpc/v1/tasks/batch", self.submit_batch)
        routes.add("POST", "/rpc/v1/jobs", self.submit)
        routes.add("POST", "/rpc/v1/jobs/list", self.list_jobs)
        routes.add("GET", job, self.get)
        routes.add("DELETE", job, self.cancel)
        routes.add("POST", f"{job}/tasks", self.list_members)
        routes.add("POST", f"{job}/retry", self.retry)
        routes.add("POST", f"{job}/hold", self.hold)

    async def submit_batch(self, request: Request) -> HTTPResponse:
        batch = decode(_decode_batch, request.body)
        answers = await self._jobs.submissions.submit_batch(batch.tasks)
        for each in answers:
            if each.submitted is not None:
                self._metrics.count_accepted(replay=each.submitted.replay)
        return answer(SubmittedBatch(answers=answers))

    async def submit(self, request: Request) -> HTTPResponse:
        return answer(await self._jobs.submit(decode(_decode_submit, request.body)))

    async def list_jobs(self, request: Request) -> HTTPResponse:
        query = decode(_decode_list, request.body)
        _check_limit(query.limit)
        return answer(await self._jobs.list_jobs(query))

    async def get(self, request: Request, job_id: str) -> HTTPResponse:
        return answer(await self._jobs.view(parse_job_id(job_id)))

    async def cancel(self, request: Request, job_id: str) -> HTTPResponse:
        job = parse_job_id(job_id)
        return answer(await self._jobs.cancel(job, cancellation_in(request.body)))

    async def retry(self, request: Request, job_id: str) -> HTTPResponse:
        asked = decode(_decode_retry, request.body)
        return answer(await retry(self._jobs, parse_job_id(job_id), asked))

    async def hold(self, request: Request, job_id: str) -> HTTPResponse:
        asked = decode(_decode_hold, request.body)
        return answer(await hold(self._jobs, parse_job_id(job_id), held=asked.held))

    async def list_members(self, request: Request, job_id: str) -> HTTPResponse:
        query = decode(_decode_members, request.body)
        _check_limit(query.limit)
        return answer(await self._jobs.list_members(parse_job_id(job_id), query))


def parse_job_id(text: str) -> JobId:
    """Raise `Rejected` for what is no id, `NotFound` for a task's."""
    known = parse_task_id(text, field="job")
    if not is_job_id(known):
        raise NotFound(f"job {known} does not exist")
    return JobId(known)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise Rejected(f"limit: 1 to {LIST_LIMIT_MAX}, {limit} given", field="limit")
