"""Jobs, blobs and documents, as methods of the blocking client."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Coroutine,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from khala.client.aio import AsyncKhala
from khala.client.documents import Applied
from khala.client.jobs import NewJob, RetriedJob
from khala.client.request import Json, TaskPatch
from khala.model.task import TaskState
from khala.protocol.v2 import (
    Acted,
    Batch,
    BatchPlan,
    Job,
    JobGraph,
    JobPage,
    JobPlan,
    Preset,
    Row,
    Upload,
)

Answer = TypeVar("Answer")


class Blocking:
    """Runs what the asynchronous client does, and waits for it."""

    _inner: AsyncKhala
    _runner: asyncio.Runner

    def _do(self, call: Coroutine[object, object, Answer]) -> Answer:
        return self._runner.run(call)

    def _each(self, items: AsyncGenerator[Answer, None]) -> Generator[Answer, None, None]:
        async def following() -> Answer | None:
            return await anext(items, None)

        try:
            while (item := self._do(following())) is not None:
                yield item
        finally:
            self._do(items.aclose())

    def _joined(self, opened: AbstractAsyncContextManager[AsyncIterator[bytes]]) -> bytes:
        async def join() -> bytes:
            async with opened as pieces:
                return b"".join([piece async for piece in pieces])

        return self._do(join())


class BlockingJobs(Blocking):
    """A part of `Khala`."""

    def submit_job(self, job: NewJob, *, key: str | None = None) -> str:
        return self._do(self._inner.submit_job(job, key=key))

    def plan_job(self, job: NewJob) -> JobPlan:
        return self._do(self._inner.plan_job(job))

    def get_job(self, job: str) -> Job:
        return self._do(self._inner.get_job(job))

    def wait_job(self, job: str, timeout_s: float | None = None) -> Job:
        return self._do(self._inner.wait_job(job, timeout_s))

    def list_jobs(self, *, limit: int = 50, cursor: str | None = None) -> JobPage:
        return self._do(self._inner.list_jobs(limit=limit, cursor=cursor))

    def job_tasks(
        self, job: str, *, states: tuple[TaskState, ...] = ()
    ) -> Generator[Row, None, None]:
        return self._each(self._inner.job_tasks(job, states=states))

    def job_graph(self, job: str) -> JobGraph:
        return self._do(self._inner.job_graph(job))

    def read_job_logs(self, job: str, *, after: int = 0) -> bytes:
        """All of the archive at once."""
        return self._joined(self._inner.open_job_logs(job, after=after))

    def cancel_job(self, job: str, *, reason: str = "", by: str = "", grace_s: float = 0) -> Job:
        return self._do(self._inner.cancel_job(job, reason=reason, by=by, grace_s=grace_s))

    def hold_job(self, job: str, *, held: bool = True) -> Job:
        return self._do(self._inner.hold_job(job, held=held))

    def retry_job(self, job: str, *, only: Sequence[str] = ()) -> RetriedJob:
        return self._do(self._inner.retry_job(job, only=only))

    def put_blob(self, data: bytes) -> str:
        return self._do(self._inner.put_blob(data))

    def read_blob(self, name: str) -> bytes:
        """All of it at once."""
        return self._joined(self._inner.open_blob(name))

    def uploads(self, *, user: int | None = None) -> list[Upload]:
        return self._do(self._inner.uploads(user=user))

    def drop_upload(self, upload: str) -> None:
        self._do(self._inner.drop_upload(upload))

    def apply(self, document: Mapping[str, object], key: str) -> Applied:
        return self._do(self._inner.apply(document, key))

    def submit_batch(
        self, documents: Sequence[Mapping[str, object]], *, key: str | None = None
    ) -> Batch:
        return self._do(self._inner.submit_batch(documents, key=key))

    def plan_batch(self, documents: Sequence[Mapping[str, object]]) -> BatchPlan:
        return self._do(self._inner.plan_batch(documents))

    def cancel_matching(
        self,
        matching: Json,
        expect_count: int,
        *,
        reason: str = "",
        by: str = "",
        grace_s: float = 0,
    ) -> Acted:
        return self._do(
            self._inner.cancel_matching(
                matching, expect_count, reason=reason, by=by, grace_s=grace_s
            )
        )

    def patch_matching(self, matching: Json, expect_count: int, patch: TaskPatch) -> Acted:
        return self._do(self._inner.patch_matching(matching, expect_count, patch))

    def presets(self) -> list[Preset]:
        return self._do(self._inner.presets())

    def put_preset(self, name: str, task: Mapping[str, object], *, description: str = "") -> Preset:
        return self._do(self._inner.put_preset(name, task, description=description))

    def remove_preset(self, name: str) -> Preset:
        return self._do(self._inner.remove_preset(name))
