"""Arrays of a simulation, and what must be true of them."""

from __future__ import annotations

from functools import partial

from khala.model.ids import JobId
from khala.model.job import JobSpec, NewJob, Stop, member_id
from khala.model.outcome import Cancellation
from khala.model.ranges import Indexes
from khala.model.spec import TaskSpec
from khala.model.task import Dispatch
from khala.store.memory import MemoryStore, run_now
from tests.sim.clock import Clock
from tests.sim.history import History, check_said, require
from tests.sim.judicator import wall_of
from tests.sim.workload import LIMITS, Kind

#: Numbers of arrays; those of submissions are smaller.
FIRST = 1000
#: Members, and how many of them may be open at a time, of each array.
OWNER = Cancellation(by="owner", reason="not needed any more")
ARRAYS = ((9, 3), (6, None), (14, 4))
#: Of the one that is held from its beginning on: its submission, and its release.
HELD_S, CHECK_S = 95.0, 130.0


class Arrays:
    """They are answered at once; what becomes of them is in the judicators' hands."""

    def __init__(self, clock: Clock, store: MemoryStore, history: History) -> None:
        self._clock = clock
        self._store = store
        self._history = history
        self._ids: list[JobId] = []
        self._stopped: set[JobId] = set()

    def plan(self) -> None:
        uniform = self._clock.random.uniform
        for number in range(len(ARRAYS)):
            self._clock.at(uniform(0, 40), partial(self.submit, number))
        if self._clock.random.random() < 0.5:
            self._clock.at(uniform(5, 80), self.stop_one)
        for _ in range(6):
            self._clock.at(uniform(5, 80), self.hold_one)
        # In the calm, from its beginning on.
        self._clock.at(HELD_S, self.submit_held)
        self._clock.at(CHECK_S, self.check_held)

    def submit(self, number: int, *, held: bool = False) -> None:
        size, limit = ARRAYS[number]
        number += len(self._ids) if held else 0
        job = JobId(f"{FIRST + number:018x}000000")
        task = TaskSpec(
            user=FIRST + number,
            compile_timeout_s=0,
            execute_timeout_s=Kind.PLAIN,
            compile_limits=LIMITS,
            execute_limits=LIMITS,
            parts={},
        )
        indexes = Indexes(ranges=((0, size - 1, 1),))
        spec = JobSpec(user=task.user, task=task, indexes=indexes, limit=limit)
        at = wall_of(self._clock)()
        new = NewJob(id=job, spec=spec, submitted_at=at, held=held)
        run_now(self._store.jobs.insert_if_new(new))
        self._ids.append(job)
        self._history.limits[job] = limit

    def submit_held(self) -> None:
        self.submit(len(ARRAYS) - 1, held=True)

    def check_held(self) -> None:
        """Long after nobody can be slow any more nothing of it has begun; then all are released."""
        job = self._ids[-1]
        made = [self._history.task(member_id(job, n + 1)) for n in range(ARRAYS[-1][0])]
        begun = [task for task in made if task is not None and task.dispatch is not Dispatch.HELD]
        require(not begun, "begun while its job is held", begun)
        for each in self._ids:
            self._hold(each, held=False)

    def hold_one(self) -> None:
        """As an answered request; some are released again soon, the others in the calm."""
        if self._ids:
            job = self._clock.random.choice(self._ids)
            self._hold(job, held=True)
            if self._clock.random.random() < 0.7:
                wait = self._clock.random.uniform(0, 8)
                self._clock.after(wait, lambda: self._hold(job, held=False))

    def _hold(self, job: JobId, *, held: bool) -> None:
        found = run_now(self._store.jobs.get(job))
        run_now(self._store.jobs.hold_if_version(job, found.version, held=held))

    def stop_one(self) -> None:
        """As an answered cancel: nothing of it starts that has not begun to."""
        if self._ids:
            job = self._clock.random.choice(self._ids)
            if run_now(self._store.jobs.stop_if_open(job, Stop.CANCELLED, OWNER)):
                self._stopped.add(job)

    def left(self) -> list[object]:
        """Jobs for which something is still to be done."""
        return [("job", job.id) for job in run_now(self._store.jobs.find_open(None, 100))]

    def check(self) -> None:
        """After everything had time to end."""
        for job_id in self._ids:
            job = run_now(self._store.jobs.get(job_id))
            require(not job.open and job.counts is not None, "a job is left open", job)
            counts = job.counts or {}
            require(sum(counts.values()) == job.size, "members are miscounted", job)
            made = [self._history.task(member_id(job.id, n + 1)) for n in range(job.size)]
            if job_id not in self._stopped:
                require(None not in made, "a member was never made", job)
            for task in made:
                require(task is None or task.dispatch is Dispatch.DONE, "a member is left", task)
                if task is not None:
                    check_said(task, self._history.said[task.id] | {OWNER})
