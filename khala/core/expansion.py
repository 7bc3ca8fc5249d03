"""Jobs on their way: members made ahead of their turn, jobs stopped, jobs closed.

Any judicator may look at any job at any time, also several at once, and any of them may die between
two statements: making a member twice makes it once, because its id follows from job and position,
and everything else is a compare-and-set.

How many may be open at a time holds without a lock. A judicator reads how far members are made,
then counts those that are open, and makes members up to `made + limit - open`. What others make in
between raises the count it subtracts, so two of them arrive at the same place; what is read too
early is too low, and costs a repetition.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from khala.core.dispatch import Dispatcher
from khala.core.ports import Comm, JobPort
from khala.model.depends import hold_of
from khala.model.errors import AlreadyDone, KhalaError, NotFound
from khala.model.holds import Hold
from khala.model.ids import JobId
from khala.model.job import Job, Stop, hold_key, member_id, total
from khala.model.limits import (
    JOB_INTERVAL_S,
    JOB_PAUSE_S,
    JOB_PORTION,
    JOB_ROUND,
    JOB_WINDOW,
)
from khala.model.spec import TaskSpec
from khala.model.statements import Lift, NewTask, cancelled
from khala.model.task import TaskBrief, TaskState

_UNENDED = (TaskState.QUEUED, TaskState.RUNNING)


class Expansion:
    """One judicator's part in it; one round at a time."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        jobs: JobPort,
        comm: Comm,
        hold: Callable[[TaskSpec], Hold | None] = lambda spec: hold_of(spec.depends_on),
    ) -> None:
        """`hold` is what members are made with."""
        self._hold = hold
        self._dispatcher = dispatcher
        self._jobs = jobs
        self._comm = comm
        self._looking = False
        self._next_round_at = 0.0
        #: Where the next round goes on, when there are more jobs than one looks at.
        self._after: JobId | None = None
        #: Jobs that had nothing to do, and when they are looked at again.
        self._rest_until: dict[JobId, float] = {}
        #: Stopped jobs of which no further member can be made.
        self._sealed: set[JobId] = set()

    def on_tick(self) -> None:
        now = self._comm.now()
        if self._dispatcher.serving and not self._looking and now >= self._next_round_at:
            self._looking = True
            self._next_round_at = now + JOB_INTERVAL_S
            self._comm.spawn(self._round())

    def on_changed(self, brief: TaskBrief) -> None:
        """A member that ended here has made room for another."""
        if brief.member is not None and brief.done:
            self.hurry(brief.member.job)

    def hurry(self, job: JobId) -> None:
        """Something is to be done for it."""
        self._rest_until.pop(job, None)

    async def _round(self) -> None:
        try:
            jobs = await self._jobs.find_open(self._after, JOB_ROUND)
            self._after = jobs[-1].id if len(jobs) == JOB_ROUND else None
            if self._after is not None:
                self._next_round_at = 0.0
            now = self._comm.now()
            for job in jobs:
                if self._rest_until.get(job.id, 0.0) <= now:
                    await self.advance(job)
        except KhalaError:
            pass  # the next round is JOB_INTERVAL_S away
        finally:
            self._looking = False

    async def advance(self, job: Job) -> None:
        """One step of one job."""
        if job.stop is not None:
            await self._wind_up(job)
        elif await self._fails_too_often(job):
            await self._jobs.stop_if_open(job.id, Stop.MAX_FAILS)
        elif job.held:
            await self._hold_members(job)
        elif job.held is not None and await self._release_members(job):
            return  # there may be more of them
        elif job.expanded < job.size:
            await self._expand(job)
        elif await self._jobs.count_open(job.id):
            self._rest(job)
        else:
            await self._close(job)

    async def _fails_too_often(self, job: Job) -> bool:
        bound = job.spec.max_fails
        return bound is not None and await self._jobs.count_failed(job.id) > bound

    async def _expand(self, job: Job) -> None:
        # The count comes after `job.expanded` was read; the other way round two judicators could
        # make more than the limit.
        limit = JOB_WINDOW if job.spec.limit is None else job.spec.limit
        room = limit - await self._jobs.count_open(job.id)
        last = min(job.size, job.expanded + room, job.expanded + JOB_PORTION)
        if last <= job.expanded:
            self._rest(job)
            return
        members = await self._members(job, job.expanded + 1, last)
        answers = await self._jobs.insert_if_new(members)
        if any(isinstance(answer, Exception) for answer in answers):
            return  # made again in the next round, up to the same place
        await self._jobs.note_expanded(job.id, last)
        for member in members:
            self._dispatcher.welcome(member)

    async def _hold_members(self, job: Job) -> None:
        """Of a held job no member is made, and those that wait are held. One that somebody makes
        who had read it before is found in the next round."""
        unheld = await self._jobs.find_unheld(job.id, JOB_PORTION)
        if unheld:
            key = hold_key(job.id)
            await self._dispatcher.holding.hold([Lift(id=task, key=key) for task in unheld])
        elif job.expanded < job.size or await self._jobs.count_open(job.id):
            self._rest(job)
        else:
            await self._close(job)

    async def _release_members(self, job: Job) -> bool:
        """Whether any was held with it: whoever was slow may hold one long after."""
        key = hold_key(job.id)
        held = await self._dispatcher.store.find_held(key, JOB_PORTION)
        if held:
            await self._dispatcher.holding.lift([Lift(id=task, key=key) for task in held])
        return bool(held)

    async def _members(self, job: Job, first: int, last: int) -> list[NewTask]:
        specs = await self._jobs.specs_of(job, first, last)
        now = self._comm.wall_time()
        return [
            NewTask(
                id=member_id(job.id, first + offset),
                spec=spec,
                submitted_at=now,
                attempts_before=job.attempts_before,
                hold=self._hold(spec),
            )
            for offset, spec in enumerate(specs)
        ]

    def _rest(self, job: Job) -> None:
        self._rest_until[job.id] = self._comm.now() + JOB_PAUSE_S

    async def _wind_up(self, job: Job) -> None:
        """Cancel what is open, once nothing can be added to it."""
        if job.id not in self._sealed:
            await self._seal(job)
        left = await self._jobs.list_made(job.id, 1, job.size, _UNENDED, JOB_PORTION)
        for brief in left:
            try:
                await self._dispatcher.cancel(brief.id, job.member_cancellation)
            except (AlreadyDone, NotFound):
                continue
        if not left:
            await self._close(job)

    async def _seal(self, job: Job) -> None:
        """Whoever was about to make members when the job was stopped had read no more than the
        job's note of then, and makes one portion at most, however late. Those ids are taken."""
        last = min(job.size, job.expanded + JOB_PORTION)
        members = await self._members(job, job.expanded + 1, last)
        if members:
            outcome = cancelled(job.member_cancellation)
            ended = [replace(member, hold=None, ended=outcome) for member in members]
            answers = await self._jobs.insert_if_new(ended)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        self._sealed.add(job.id)

    async def _close(self, job: Job) -> None:
        """Nothing is left to be done for it, unless somebody has changed that meanwhile."""
        counts = total(job, await self._jobs.count_states(job.id))
        if any(counts[state] for state in _UNENDED):
            return
        if await self._jobs.close_if_version(job.id, job.version, counts):
            self._rest_until.pop(job.id, None)
            self._sealed.discard(job.id)
