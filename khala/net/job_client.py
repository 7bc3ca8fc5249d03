"""The judicators' jobs and batches, as methods."""

from __future__ import annotations

import msgspec

from khala.model.errors import AlreadyDone, OutcomeUnknown
from khala.model.ids import JobId
from khala.model.job import Stop
from khala.model.outcome import Cancellation
from khala.net.calls import WRITE_S, WRITE_TOTAL_S, Call, Calls, parse
from khala.protocol.graph import JobGraph
from khala.protocol.jobs import (
    HoldJob,
    JobPage,
    JobView,
    ListJobs,
    ListMembers,
    MemberRows,
    Retried,
    RetryJob,
    SubmitBatch,
    SubmitJob,
    SubmittedBatch,
)
from khala.protocol.rpc import Cancel, Submitted

_encode = msgspec.msgpack.Encoder().encode
_decode_batch = msgspec.msgpack.Decoder(SubmittedBatch)
_decode_submitted = msgspec.msgpack.Decoder(Submitted)
_decode_view = msgspec.msgpack.Decoder(JobView)
_decode_page = msgspec.msgpack.Decoder(JobPage)
_decode_retried = msgspec.msgpack.Decoder(Retried)
_decode_graph = msgspec.msgpack.Decoder(JobGraph)
_decode_members = msgspec.msgpack.Decoder(MemberRows)


class JobClient(Calls):
    async def submit_batch(self, batch: SubmitBatch) -> SubmittedBatch:
        """Repeated until answered only if every task carries a key."""
        call = _writing("/rpc/v1/tasks/batch", batch, all(task.key for task in batch.tasks))
        return parse(_decode_batch, await self._call(call))

    async def submit_job(self, request: SubmitJob) -> Submitted:
        """Repeated until answered only if `request` carries a key."""
        call = _writing("/rpc/v1/jobs", request, request.key is not None)
        return parse(_decode_submitted, await self._call(call))

    async def get_job(self, job: JobId) -> JobView:
        return parse(_decode_view, await self._call(Call(method="GET", path=f"/rpc/v1/jobs/{job}")))

    async def get_graph(self, job: JobId) -> JobGraph:
        call = Call(method="GET", path=f"/rpc/v1/jobs/{job}/graph")
        return parse(_decode_graph, await self._call(call))

    async def list_jobs(self, query: ListJobs) -> JobPage:
        call = Call(method="POST", path="/rpc/v1/jobs/list", body=_encode(query), reads=True)
        return parse(_decode_page, await self._call(call))

    async def list_members(self, job: JobId, query: ListMembers) -> MemberRows:
        path = f"/rpc/v1/jobs/{job}/tasks"
        call = Call(method="POST", path=path, body=_encode(query), reads=True)
        return parse(_decode_members, await self._call(call))

    async def retry_job(self, job: JobId, request: RetryJob) -> Retried:
        """Repeated until answered only if `request` carries a key. Raise `NotDone` if it has not
        ended, `AlreadyDone` if no member ended so."""
        call = _writing(f"/rpc/v1/jobs/{job}/retry", request, request.key is not None)
        return parse(_decode_retried, await self._call(call))

    async def hold_job(self, job: JobId, *, held: bool) -> JobView:
        """Hold or release it. Raise `AlreadyDone`."""
        call = _writing(f"/rpc/v1/jobs/{job}/hold", HoldJob(held=held), True)
        return parse(_decode_view, await self._call(call))

    async def cancel_job(self, job: JobId, cancellation: Cancellation | None = None) -> JobView:
        """Idempotent. Raise `AlreadyDone` if it had ended otherwise."""
        call = Call(
            method="DELETE",
            path=f"/rpc/v1/jobs/{job}",
            body=cancel_body(cancellation),
            try_s=WRITE_S,
            total_s=WRITE_TOTAL_S,
        )
        try:
            return parse(_decode_view, await self._call(call))
        except (OutcomeUnknown, AlreadyDone):
            view = await self.get_job(job)
            if view.job.stop is not Stop.CANCELLED:
                raise
            return view


def cancel_body(cancellation: Cancellation | None) -> bytes:
    """Nothing where nothing is said, as before anything could be."""
    return b"" if cancellation is None else _encode(Cancel(cancellation=cancellation))


def _writing(path: str, body: msgspec.Struct, repeatable: bool) -> Call:
    return Call(
        method="POST",
        path=path,
        body=_encode(body),
        repeatable=repeatable,
        try_s=WRITE_S,
        total_s=WRITE_TOTAL_S,
    )
