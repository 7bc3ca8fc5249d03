"""Jobs: accepted, read and cancelled. What becomes of their members is `khala.core.expansion`.

A member that is not made yet is answered as what it would be, so that whoever has its id needs not
know how far its job has come.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from khala.core.dispatch import Dispatcher
from khala.core.expansion import Expansion
from khala.model.blob import BlobName, name_of
from khala.model.dates import utc_now
from khala.model.errors import AlreadyDone, KhalaError, NotFound, Rejected, TooLarge
from khala.model.ids import JobId, TaskId
from khala.model.job import (
    Job,
    JobSpec,
    NewJob,
    Stop,
    member_id,
    mint_job_id,
    place_of,
    total,
    unmade,
)
from khala.model.limits import ARRAY_TASKS, ENTRIES_BYTES, ENTRY_BYTES, LIST_TASKS
from khala.model.outcome import Cancellation
from khala.model.ranges import Indexes, up_to
from khala.model.retention import Retention, longest
from khala.model.spec import Member, TaskSpec
from khala.model.statements import CancelResult, NewTask, cancelled
from khala.model.task import Task, TaskBrief, TaskState, brief_of
from khala.protocol.jobs import (
    JobPage,
    JobView,
    ListJobs,
    ListMembers,
    MemberRows,
    SubmitJob,
)
from khala.protocol.rpc import Submitted
from khala.store.members import Members
from khala.store.parts import put_blob
from khala.store.protocols import BlobStore, JobStore, TaskStore
from roles.judicator.missing import missing
from roles.judicator.submit import Submissions, fingerprint_of

#: Members of an open job are counted again after this, or after twenty times as long as it took.
COUNT_AGE_S = 1.0
COUNT_SHARE = 20.0
#: Jobs whose counts are remembered.
COUNTED_JOBS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStores:
    jobs: JobStore
    members: Members
    blobs: BlobStore
    tasks: TaskStore


@dataclass(slots=True)
class _Counted:
    counts: dict[TaskState, int]
    until: float
    #: Of the job; with another one its members have been told something else.
    version: int


@dataclass(slots=True)
class Jobs:
    """What the routes of jobs answer from."""

    submissions: Submissions
    dispatcher: Dispatcher
    expansion: Expansion
    stores: JobStores
    keep: Callable[[], Retention]
    _counted: dict[JobId, _Counted] = field(default_factory=dict)

    # ---- accepting --------------------------------------------------------------------------

    async def submit(self, request: SubmitJob) -> Submitted:
        """Return once the job is stored on a majority; its members are made from then on."""
        if request.task is not None:
            spec = await self._array(request)
            blobs: tuple[BlobName, ...] = ()
            parts = [fingerprint_of(spec.task)] if spec.task is not None else []
        else:
            specs = await self._listed(request)
            blob = await store_list(self.stores.blobs, msgspec.msgpack.encode(specs))
            spec = _spec(request, up_to(len(specs)), blob, [each.retention_s for each in specs])
            blobs = tuple({name for each in specs for name in each.blobs})
            parts = [fingerprint_of(each) for each in specs]
        parts += [b"held"] * request.held
        return await self.accept(
            NewJob(
                id=mint_job_id(),
                spec=spec,
                submitted_at=utc_now(),
                key=request.key,
                fingerprint=_fingerprint(spec, parts) if request.key is not None else b"",
                blobs=blobs,
                held=request.held,
            )
        )

    async def accept(self, new: NewJob) -> Submitted:
        """Its members are made from now on."""
        admission = self.submissions.admission
        async with admission.admitted(new.spec.user, new.spec.indexes.size, new.key):
            result = await self.stores.jobs.insert_if_new(new)
        if not result.replay:
            self.hurry(JobId(result.id))
        return Submitted(id=result.id, replay=result.replay)

    async def _array(self, request: SubmitJob) -> JobSpec:
        if request.task is None:
            raise Rejected("task: an array has one", field="task")
        entries, indexes = request.entries, request.indexes
        if indexes is None:
            if not entries:
                raise Rejected("array: its indexes are missing", field="array")
            indexes = up_to(len(entries))
        if entries is not None:
            _check_entries(entries, indexes)
        if indexes.size > ARRAY_TASKS:
            raise TooLarge(f"array: {indexes.size} tasks, the limit is {ARRAY_TASKS}")
        task = await self.submissions.prepare(request.task)
        blob = None
        if entries is not None:
            blob = await store_list(self.stores.blobs, msgspec.msgpack.encode(entries))
        return replace(_spec(request, indexes, blob, [task.retention_s]), task=task)

    async def _listed(self, request: SubmitJob) -> list[TaskSpec]:
        if not 1 <= len(request.tasks) <= LIST_TASKS:
            raise Rejected(
                f"tasks: 1 to {LIST_TASKS} are possible, {len(request.tasks)} were given",
                field="tasks",
            )
        specs = await asyncio.gather(*map(self.submissions.prepare, request.tasks))
        return [
            replace(spec, member=Member(job=JobId(""), index=index))
            for index, spec in enumerate(specs)
        ]

    def hurry(self, job: JobId) -> None:
        """The next round would do it, too."""

        async def advance() -> None:
            try:
                await self.expansion.advance(await self.stores.jobs.get(job))
            except KhalaError:
                self.expansion.hurry(job)

        self.dispatcher.comm.spawn(advance())

    # ---- reading ----------------------------------------------------------------------------

    async def view(self, job: JobId) -> JobView:
        return await self._view(await _find(self, job))

    async def list_jobs(self, query: ListJobs) -> JobPage:
        rows = await self.stores.jobs.list_jobs(query)
        return JobPage(jobs=[await self._view(job) for job in rows.jobs], more=rows.more)

    async def _view(self, job: Job) -> JobView:
        if job.counts is not None and not job.open:
            return JobView(job=job, counts=job.counts)
        now = time.monotonic()
        known = self._counted.get(job.id)
        if known is None or known.until < now or known.version != job.version:
            made = await self.stores.jobs.count_states(job.id)
            took_s = time.monotonic() - now
            until = now + max(COUNT_AGE_S, COUNT_SHARE * took_s)
            known = _Counted(made, until, job.version)
            self._counted.pop(job.id, None)
            self._counted[job.id] = known
            if len(self._counted) > COUNTED_JOBS:
                del self._counted[next(iter(self._counted))]
        return JobView(job=job, counts=total(job, known.counts))

    async def list_members(self, job_id: JobId, query: ListMembers) -> MemberRows:
        """By their positions; the ones that are not made yet stand where they will."""
        job = await self.stores.jobs.get(job_id)
        if not query.states:
            last = min(job.size, query.after + query.limit)
            rows = await self._between(job, query.after + 1, last)
            return MemberRows(tasks=rows, next_after=last if last < job.size else None)
        first = query.after + 1
        wanted = query.limit + 1
        rows = await self.stores.jobs.list_made(job.id, first, job.size, query.states, wanted)
        state = TaskState.QUEUED if job.stop is None else TaskState.CANCELLED
        if state in query.states:
            first = max(first, job.expanded + 1)
            last = min(job.size, first + query.limit)
            made = {row.id for row in rows}
            there = await self._between(job, first, last)
            rows += [row for row in there if row.id not in made and row.state is state]
            rows.sort(key=lambda row: row.id)
        more = len(rows) > query.limit
        rows = rows[: query.limit]
        return MemberRows(tasks=rows, next_after=place_of(rows[-1].id)[1] if more else None)

    async def _between(self, job: Job, first: int, last: int) -> list[TaskBrief]:
        """Every member at these positions."""
        if first > last:
            return []
        made = await self.stores.jobs.list_made(job.id, first, last, (), last - first + 1)
        by_id = {row.id: row for row in made}
        if len(made) == last - first + 1:
            return made
        specs = await self.stores.members.specs_of(job, first, last)
        return [
            by_id.get(member_id(job.id, position)) or brief_of(unmade(job, spec, position))
            for position, spec in enumerate(specs, first)
        ]

    # ---- members by their ids ---------------------------------------------------------------

    async def find_task(self, task: TaskId) -> Task:
        """Also one that is not made yet; raise `NotFound`."""
        try:
            return await self.stores.tasks.get(task)
        except NotFound:
            job, spec, position = await self._member(task)
            return unmade(job, spec, position)

    async def cancel_task(self, task: TaskId, cancellation: Cancellation | None) -> CancelResult:
        """Also one that is not made yet: it is made as cancelled."""
        try:
            return await self.dispatcher.cancel(task, cancellation)
        except NotFound:
            job, spec, _ = await self._member(task)
        if job.stop is not None:
            raise AlreadyDone(f"task {task} has already ended: cancelled")
        ended = NewTask(id=task, spec=spec, submitted_at=utc_now(), ended=cancelled(cancellation))
        for answer in await self.stores.tasks.insert_if_new([ended]):
            if isinstance(answer, Exception):
                raise answer
        try:
            return await self.dispatcher.cancel(task, cancellation)  # it was made meanwhile
        except AlreadyDone:
            brief = brief_of(await self.stores.tasks.get(task))
            if brief.state is not TaskState.CANCELLED:
                raise
            return CancelResult(before=None, attempt=None, brief=brief)

    async def _member(self, task: TaskId) -> tuple[Job, TaskSpec, int]:
        job_id, position = place_of(task)
        try:
            job = await self.stores.jobs.get(job_id)
        except NotFound:
            job = None
        if job is None or not 1 <= position <= job.size:
            raise missing("task", task, self.keep())
        return job, await self.stores.members.spec_of(job, position), position

    # ---- ending -----------------------------------------------------------------------------

    async def cancel(self, job: JobId, cancellation: Cancellation | None) -> JobView:
        """What has not begun never will, what runs is stopped soon. Raise `AlreadyDone` if it had
        ended, or was stopped for another reason."""
        if not await self.stores.jobs.stop_if_open(job, Stop.CANCELLED, cancellation):
            found = await self.stores.jobs.get(job)
            if found.stop is not Stop.CANCELLED:
                raise AlreadyDone(f"job {job} has already ended")
        self._counted.pop(job, None)
        self.hurry(job)
        return await self.view(job)


async def _find(jobs: Jobs, job: JobId) -> Job:
    try:
        return await jobs.stores.jobs.get(job)
    except NotFound:
        raise missing("job", job, jobs.keep()) from None


async def store_list(blobs: BlobStore, data: bytes) -> BlobName:
    """What differs between members, once for all of them."""
    name = name_of(data)
    await put_blob(blobs, name, data)
    return name


def _spec(
    request: SubmitJob, indexes: Indexes, blob: BlobName | None, kept: Sequence[int | None]
) -> JobSpec:
    """`kept`: what its tasks say of that."""
    return JobSpec(
        user=request.user,
        name=request.name,
        indexes=indexes,
        blob=blob,
        limit=request.limit,
        max_fails=request.max_fails,
        retention_s=longest(kept),
    )


def _check_entries(entries: Sequence[str], indexes: Indexes) -> None:
    if len(entries) != indexes.size:
        raise Rejected(
            f"entries: {len(entries)} of them, and {indexes.size} tasks", field="entries"
        )
    longest = max((len(each.encode()) for each in entries), default=0)
    if longest > ENTRY_BYTES:
        raise TooLarge(
            f"entries: one has {longest} bytes, the limit is {ENTRY_BYTES}; put it into a file",
            field="entries",
        )
    size = sum(len(each.encode()) for each in entries)
    if size > ENTRIES_BYTES:
        raise TooLarge(
            f"entries: together {size} bytes, the limit is {ENTRIES_BYTES}", field="entries"
        )


def _fingerprint(spec: JobSpec, parts: Sequence[bytes]) -> bytes:
    """Stands for the whole request, as that of a task does."""
    bare = msgspec.msgpack.encode(replace(spec, task=None, blob=None), order="deterministic")
    if spec.task is not None and spec.blob is not None:
        bare += spec.blob.encode()
    return hashlib.sha256(bare + b"".join(parts)).digest()
