"""Jobs and blobs, as methods of the client."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from khala.client.request import Json, NewTask
from khala.client.transport import JSON, Call, parse
from khala.client.uploads import UploadCalls
from khala.model.task import TaskState
from khala.protocol.v2 import CreatedJob, Job, JobGraph, JobPage, JobPlan, Page, Row

#: Between two looks at a job that is waited for.
LOOK_S = 0.5
_PAGE_ITEMS = 500


class NewJob(Struct, frozen=True, kw_only=True):
    """An array of `task`, or a list of `tasks` that differ."""

    task: NewTask | None = None
    #: Indexes as "0-99", with "%8" behind them for eight at a time.
    array: str | None = None
    #: One text for each task of the array, which it finds in KHALA_ENTRY.
    entries: Sequence[str] | None = None
    tasks: tuple[NewTask, ...] = ()
    max_fails: int | None = None
    name: str = ""
    #: None of its tasks begins before it is released, with `hold_job`.
    held: bool = False

    def document(self, blobs: Mapping[bytes, str] = {}) -> Json:
        """The body of `POST /api/v2/jobs`."""
        document: Json = {"name": self.name, "array": self.array, "max_fails": self.max_fails}
        if self.task is not None:
            document["task"] = self.task.document(blobs)
        if self.entries is not None:
            document["entries"] = list(self.entries)
        if self.held:
            document["held"] = True
        if self.tasks:
            document["tasks"] = [task.document(blobs) for task in self.tasks]
        return {name: value for name, value in document.items() if value not in (None, "")}


class RetriedJob(Struct, frozen=True, kw_only=True):
    """What runs the tasks of another one again."""

    id: str
    size: int
    #: False: it had been asked for before, and nothing was queued.
    new: bool


class JobCalls(UploadCalls):
    """A part of `AsyncKhala`."""

    async def submit_job(self, job: NewJob, *, key: str | None = None) -> str:
        """Create it and return its id; repeated until answered, as `submit`."""
        headers = {**JSON, "Idempotency-Key": key or secrets.token_hex(16)}
        body = await self._body_of(job)
        answer = await self._ask("POST", "/api/v2/jobs", body=body, headers=headers)
        return parse(CreatedJob, answer).id

    async def plan_job(self, job: NewJob) -> JobPlan:
        """What it would be, with every default and bound; nothing is submitted."""
        fields = {"body": await self._body_of(job), "headers": JSON}
        answer = await self._ask("POST", "/api/v2/jobs", query={"dry_run": "true"}, **fields)
        return parse(JobPlan, answer)

    async def _body_of(self, job: NewJob) -> bytes:
        tasks = [*job.tasks, *([job.task] if job.task else [])]
        return msgspec.json.encode(job.document(await self._send_ahead(tasks)))

    async def get_job(self, job: str) -> Job:
        return parse(Job, await self._ask("GET", _path(job)))

    async def wait_job(self, job: str, timeout_s: float | None = None) -> Job:
        """Return it when all of its tasks have ended, or as it is after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            found = await self.get_job(job)
            if found.done or (deadline is not None and time.monotonic() >= deadline):
                return found
            await asyncio.sleep(LOOK_S)

    async def list_jobs(self, *, limit: int = 50, cursor: str | None = None) -> JobPage:
        """One page, newest first."""
        query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        return parse(JobPage, await self._ask("GET", "/api/v2/jobs", query=query))

    async def job_tasks(
        self, job: str, *, states: tuple[TaskState, ...] = ()
    ) -> AsyncGenerator[Row, None]:
        """Its tasks in the order of their indexes, page by page."""
        query = {"limit": str(_PAGE_ITEMS)} | ({"state": ",".join(states)} if states else {})
        while True:
            page = parse(Page, await self._ask("GET", f"{_path(job)}/tasks", query=query))
            for row in page.items:
                yield row
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    async def job_graph(self, job: str) -> JobGraph:
        """What it waits for and what waits for it, one step in each direction."""
        return parse(JobGraph, await self._ask("GET", f"{_path(job)}/graph"))

    def open_job_logs(
        self, job: str, *, after: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """What those of its tasks wrote that have ended, as a zip archive, in pieces. An archive
        that lacks some has a note in it, which says what `after` the next one begins with."""
        return self._transport.open(f"{_path(job)}/logs.zip", {"after": str(after)})

    async def cancel_job(
        self, job: str, *, reason: str = "", by: str = "", grace_s: float = 0
    ) -> Job:
        """As `cancel`; its tasks have the reason and the time, too."""
        said = cancelling(reason, by, grace_s)
        return parse(Job, await self._ask("POST", f"{_path(job)}/cancel", **said))

    async def hold_job(self, job: str, *, held: bool = True) -> Job:
        """Hold it, or release it with False. Raise `AlreadyDone` if it has ended or was stopped."""
        body = msgspec.json.encode({"held": held})
        return parse(Job, await self._ask("PATCH", _path(job), body=body, headers=JSON))

    async def retry_job(self, job: str, *, only: Sequence[str] = ()) -> RetriedJob:
        """Run those of its tasks again that did not succeed, as a job of their own; the same one
        however often it is asked for. Raise `NotDone` if it has not ended."""
        body = msgspec.json.encode({"only": list(only)}) if only else None
        headers = JSON if only else {}
        call = Call(method="POST", path=f"{_path(job)}/retry", body=body, headers=headers)
        reply = await self._transport.exchange(call)
        made = parse(CreatedJob, reply.body)
        return RetriedJob(id=made.id, size=made.size, new=not reply.replayed)

    def open_blob(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a blob, in pieces."""
        digest = name.removeprefix("sha256:")
        return self._transport.open(f"/api/v2/blobs/{quote(digest, safe='')}", {})


def cancelling(reason: str, by: str, grace_s: float) -> dict[str, Any]:
    """The fields of a call that says why and by whom; none if there is nothing to say."""
    given = {"reason": reason, "by": by, "grace_s": grace_s}
    said = {name: value for name, value in given.items() if value}
    return {"body": msgspec.json.encode(said), "headers": JSON} if said else {}


def _path(job: str) -> str:
    return f"/api/v2/jobs/{quote(job, safe='')}"
