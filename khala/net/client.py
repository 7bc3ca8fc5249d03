"""What the judicators' RPC offers, as methods; how one is carried out is `khala.net.calls`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import msgspec

from khala.model.capabilities import needs_of
from khala.model.cases import Span
from khala.model.errors import AlreadyDone, KhalaError, OutcomeUnknown
from khala.model.ids import AttemptNo, ExecutorName, TaskId
from khala.model.outcome import Cancellation, Chunked, Stream
from khala.model.patch import Patch
from khala.model.spec import Part
from khala.model.task import Task, TaskBrief, TaskState, brief_of
from khala.net.access_client import AccessClient
from khala.net.blob_client import BlobClient
from khala.net.calls import WRITE_S, WRITE_TOTAL_S, Call, parse
from khala.net.job_client import JobClient, cancel_body
from khala.net.log_client import LogClient
from khala.protocol.doctor import Report
from khala.protocol.queue import QueueLines, QueuePlace, QueueView, ReadQueue
from khala.protocol.rpc import (
    Cancelled,
    ClusterView,
    ListTasks,
    MetricsView,
    Patched,
    PatchTask,
    SearchTasks,
    SortKey,
    SubmitTask,
    Submitted,
    TaskPage,
    TaskRows,
)
from khala.protocol.statistics import ReadStatistics, StatisticsView

_encode = msgspec.msgpack.Encoder().encode
_decode_task = msgspec.msgpack.Decoder(Task)
_decode_submitted = msgspec.msgpack.Decoder(Submitted)
_decode_cancelled = msgspec.msgpack.Decoder(Cancelled)
_decode_rows = msgspec.msgpack.Decoder(TaskRows)
_decode_page = msgspec.msgpack.Decoder(TaskPage)
_decode_queue = msgspec.msgpack.Decoder(QueueView)
_decode_lines = msgspec.msgpack.Decoder(QueueLines)
_decode_place = msgspec.msgpack.Decoder(QueuePlace)
_decode_statistics = msgspec.msgpack.Decoder(StatisticsView)
_decode_cluster = msgspec.msgpack.Decoder(ClusterView)
_decode_metrics = msgspec.msgpack.Decoder(MetricsView)


class JudicatorClient(AccessClient, BlobClient, JobClient, LogClient):
    """One per process; `close` it at the end."""

    # ---- tasks ------------------------------------------------------------------------------

    async def submit(self, request: SubmitTask) -> Submitted:
        """Repeated until answered only if `request` carries a key."""
        request = msgspec.structs.replace(request, needs=needs_of(request))
        call = Call(
            method="POST",
            path="/rpc/v1/tasks",
            body=_encode(request),
            repeatable=request.key is not None,
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        return parse(_decode_submitted, await self._call(call))

    async def get(self, task: TaskId) -> Task:
        answer = await self._call(Call(method="GET", path=f"/rpc/v1/tasks/{task}"))
        return parse(_decode_task, answer)

    async def cancel(self, task: TaskId, cancellation: Cancellation | None = None) -> TaskBrief:
        """Raise `AlreadyDone` if the task had ended before."""
        call = Call(
            method="DELETE",
            path=f"/rpc/v1/tasks/{task}",
            body=cancel_body(cancellation),
            repeatable=False,
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        try:
            return parse(_decode_cancelled, await self._call(call)).task
        except OutcomeUnknown:
            return await self._cancel_again(task, call)

    async def _cancel_again(self, task: TaskId, call: Call) -> TaskBrief:
        try:
            return parse(_decode_cancelled, await self._call(call)).task
        except AlreadyDone:
            found = await self.get(task)
            if found.state is TaskState.CANCELLED:
                return brief_of(found)
            raise

    async def forget(self, task: TaskId) -> None:
        """Raise `NotDone` if it has not ended, `NotFound` if it is not there. Judicators that
        remember it are told; one that cannot be told forgets it by itself."""
        call = Call(
            method="POST",
            path=f"/rpc/v1/tasks/{task}/forget",
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        await self._call(call)
        for address in self.book.addresses:
            with suppress(KhalaError):
                await self._try(address, call, WRITE_S)

    async def patch(self, task: TaskId, patch: Patch, updated_at: datetime | None = None) -> Task:
        """The task as it is then. `updated_at`: only if it was last changed at that time. Raise
        `NotWaiting`, `Changed`; tell the judicators with `tell_patched`."""
        call = Call(
            method="POST",
            path=f"/rpc/v1/tasks/{task}/patch",
            body=_encode(PatchTask(patch=patch, updated_at=updated_at)),
            # Made again, it is another change of the same content.
            repeatable=updated_at is None,
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        return parse(_decode_task, await self._call(call))

    async def tell_patched(self, tasks: Mapping[TaskId, str]) -> None:
        """Judicators that remember them are told, with the claims of the changes. One that cannot
        be told keeps the old name of a task that it ended for half a minute, and the old place of
        one that waits for a moment."""
        call = Call(
            method="POST",
            path="/rpc/v1/tasks/patched",
            body=_encode(Patched(tasks=dict(tasks))),
        )
        for address in self.book.addresses:
            with suppress(KhalaError):
                await self._try(address, call, WRITE_S)

    async def search(self, query: SearchTasks) -> TaskPage:
        call = Call(method="POST", path="/rpc/v1/tasks/search", body=_encode(query), reads=True)
        return parse(_decode_page, await self._call(call))

    async def list_tasks(self, query: ListTasks) -> TaskRows:
        newer = bool(query.words) or query.sort is SortKey.PRIORITY
        path = "/rpc/v1/tasks/list/newer" if newer else "/rpc/v1/tasks/list"
        call = Call(method="POST", path=path, body=_encode(query), reads=True, newer=newer)
        return parse(_decode_rows, await self._call(call))

    # ---- the queue, and what ended ------------------------------------------------------------

    async def read_queue(self, query: ReadQueue) -> QueueView:
        call = Call(method="POST", path="/rpc/v1/queue", body=_encode(query), reads=True)
        return parse(_decode_queue, await self._call(call))

    async def find_place(self, task: TaskId) -> QueuePlace:
        """Raise `NotFound` also of a judicator that is older than the question."""
        call = Call(method="GET", path=f"/rpc/v1/queue/{task}")
        return parse(_decode_place, await self._call(call))

    async def find_ahead(self, task: TaskId) -> QueuePlace:
        """The same of its line alone. Raise `NotFound` of an older judicator."""
        call = Call(method="GET", path=f"/rpc/v1/ahead/{task}")
        return parse(_decode_place, await self._call(call))

    async def find_lines(self) -> QueueLines:
        return parse(_decode_lines, await self._call(Call(method="GET", path="/rpc/v1/lines")))

    async def read_statistics(self, query: ReadStatistics) -> StatisticsView:
        call = Call(method="POST", path="/rpc/v1/statistics", body=_encode(query), reads=True)
        return parse(_decode_statistics, await self._call(call))

    # ---- bytes ------------------------------------------------------------------------------

    @asynccontextmanager
    async def open_part(
        self, task: TaskId, part: Part, span: Span | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a payload part, or of a span of it. A stream that breaks raises
        `Unavailable`."""
        query = f"?first={span.first}&size={span.size_bytes}" if span else ""
        async with self._open(f"/rpc/v1/tasks/{task}/parts/{part}{query}") as pieces:
            yield pieces

    @asynccontextmanager
    async def open_stream(
        self, task: TaskId, stream: Stream, case: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a recorded output, of one case (from 1) where the task has some."""
        query = f"?case={case}" if case is not None else ""
        async with self._open(f"/rpc/v1/tasks/{task}/streams/{stream}{query}") as pieces:
            yield pieces

    @asynccontextmanager
    async def open_artifacts(
        self, task: TaskId, first: int, size_bytes: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a part of a task's artifacts, which are one stream of bytes."""
        path = f"/rpc/v1/tasks/{task}/artifacts?first={first}&size={size_bytes}"
        async with self._open(path) as pieces:
            yield pieces

    @asynccontextmanager
    async def open_backup(
        self, address: str, backup: str, span: range
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of a part of an archive, which one judicator has."""
        path = f"/rpc/v1/backups/{backup}/archive?first={span.start}&size={len(span)}"
        async with self._open(path, at=address) as pieces:
            yield pieces

    async def put_chunk(
        self, run: tuple[TaskId, AttemptNo], stream: Chunked, n: int, data: bytes
    ) -> None:
        """Store one chunk of what an attempt left; the same chunk twice is stored once."""
        path = f"/rpc/v1/outputs/{run[0]}/{run[1]}/{stream}/{n}"
        await self._call(
            Call(method="PUT", path=path, body=data, try_s=WRITE_S, total_s=WRITE_TOTAL_S)
        )

    # ---- cluster ----------------------------------------------------------------------------

    async def keep_examination(self, executor: ExecutorName, report: Report) -> None:
        """What the doctor says of an executor's host; it takes the place of what it said before."""
        path = f"/rpc/v1/nodes/{executor}/doctor/executor"
        await self._call(Call(method="PUT", path=path, body=_encode(report)))

    async def view_from(self, address: str, timeout_s: float) -> ClusterView:
        """The cluster as that one judicator sees it."""
        call = Call(method="GET", path="/rpc/v1/cluster")
        return parse(_decode_cluster, await self._try(address, call, timeout_s))

    async def metrics_from(self, address: str, timeout_s: float) -> MetricsView:
        """What that one judicator counted."""
        call = Call(method="GET", path="/rpc/v1/metrics")
        return parse(_decode_metrics, await self._try(address, call, timeout_s))
