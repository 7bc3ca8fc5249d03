"""Jobs of those members of an ended job that did not succeed.

A result never changes, so they run again as a job of their own, which names the old one. Whoever
asks twice with one key has one job: what an ended job's members came to is the same both times.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec.structs import replace

from khala.model.blob import BlobName
from khala.model.dates import utc_now
from khala.model.errors import AlreadyDone, NotDone, TooLarge
from khala.model.ids import JobId
from khala.model.job import Job, JobSpec, NewJob, mint_job_id, place_of
from khala.model.limits import RETRY_TASKS
from khala.model.ranges import ranges_of, up_to
from khala.model.spec import TaskSpec
from khala.model.task import TERMINAL, TaskState
from khala.protocol.jobs import ListMembers, Retried, RetryJob
from roles.judicator.jobs import Jobs, store_list


async def retry(jobs: Jobs, job_id: JobId, request: RetryJob) -> Retried:
    """Return once the new job is stored on a majority. Raise `NotDone`, `AlreadyDone` if nothing
    is to be done, `TooLarge` beyond `RETRY_TASKS`."""
    seen = await jobs.view(job_id)
    left = sum(count for state, count in seen.counts.items() if state not in TERMINAL)
    if left:
        raise NotDone(f"job {job_id}: {left} of its tasks have not ended; wait, or cancel it")
    found = await jobs.list_members(job_id, ListMembers(states=request.only, limit=RETRY_TASKS))
    if not found.tasks:
        raise AlreadyDone(f"job {job_id}: no task of it is {' or '.join(request.only)}")
    if found.next_after is not None:
        raise TooLarge(
            f"job {job_id}: more than {RETRY_TASKS} of its tasks are {' or '.join(request.only)};"
            " submit it again"
        )
    positions = [place_of(each.id)[1] for each in found.tasks]
    spec, blobs = await _spec_of(jobs, seen.job, positions)
    accepted = await jobs.accept(
        NewJob(
            id=mint_job_id(),
            spec=spec,
            submitted_at=utc_now(),
            key=request.key,
            fingerprint=_fingerprint(job_id, request.only),
            blobs=blobs,
        )
    )
    return Retried(id=JobId(accepted.id), replay=accepted.replay, size=len(positions))


async def _spec_of(
    jobs: Jobs, job: Job, positions: list[int]
) -> tuple[JobSpec, tuple[BlobName, ...]]:
    """That of a job of these members alone, which keep their indexes and entries."""
    members = await _members(jobs, job, positions)
    again = replace(job.spec, retry_of=job.id)
    if job.spec.task is None:
        blob = await store_list(jobs.stores.blobs, msgspec.msgpack.encode(members))
        names = tuple({name for each in members for name in each.blobs})
        return replace(again, indexes=up_to(len(members)), blob=blob), names
    entries: BlobName | None = None
    if job.spec.blob is not None:
        listed = [each.member.entry for each in members if each.member is not None]
        entries = await store_list(jobs.stores.blobs, msgspec.msgpack.encode(listed))
    indexes = ranges_of([job.spec.indexes.at(position) for position in positions])
    return replace(again, indexes=indexes, blob=entries), ()


async def _members(jobs: Jobs, job: Job, positions: list[int]) -> list[TaskSpec]:
    return [await jobs.stores.members.spec_of(job, position) for position in positions]


def _fingerprint(job: JobId, only: tuple[TaskState, ...]) -> bytes:
    return hashlib.sha256(f"{job} {' '.join(sorted(only))}".encode()).digest()
