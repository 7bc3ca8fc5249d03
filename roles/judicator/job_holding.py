"""Jobs held and released by a person; what becomes of their members is `khala.core.expansion`."""

from __future__ import annotations

from khala.model.errors import AlreadyDone, NotFound, Unavailable
from khala.model.ids import JobId
from khala.model.limits import PATCH_TRIES
from khala.protocol.jobs import JobView
from roles.judicator.jobs import Jobs
from roles.judicator.missing import missing


async def hold(jobs: Jobs, job_id: JobId, *, held: bool) -> JobView:
    """S24. Said again it is written again: what was said before, and was slow, lands no more. Raise
    `AlreadyDone`."""
    store = jobs.stores.jobs
    for _ in range(PATCH_TRIES):
        try:
            job = await store.get(job_id)
        except NotFound:
            raise missing("job", job_id, jobs.keep()) from None
        if not job.open or job.stop is not None:
            what = "was stopped" if job.open else "has already ended"
            raise AlreadyDone(f"job {job_id} {what}; nothing of it waits to be held or released")
        if await store.hold_if_version(job_id, job.version, held=held):
            jobs.hurry(job_id)
            return await jobs.view(job_id)
    raise Unavailable(f"job {job_id} is changed all the time; retry in a second")
