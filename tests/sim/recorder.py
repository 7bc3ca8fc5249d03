"""What a simulation did, in the words of `tests/checker`, for a second judgement.

The rules in `history` were written by whoever wrote the protocol, and stop a simulation at the
first breach. The checker knows neither; here it is given what clients, tasks and readers saw, and
the run is let to its end. Every landing of a statement is a read, which no real run can offer.

The checker speaks of tasks that clients submitted one by one. Members of jobs, which judicators
make, are left out: the simulation's own rules for arrays judge those.
"""

from __future__ import annotations

import pytest

from khala.model.errors import NotFound
from khala.model.ids import ExecutorName, SessionNo, TaskId
from khala.model.outcome import Outcome
from khala.model.task import Dispatch, Task
from khala.protocol.executor import Run
from khala.store.memory import MemoryStore, run_now
from tests.checker import history as checker_history
from tests.checker.claims import Bounds, Breach, judge
from tests.checker.history import (
    Asked,
    Cancel,
    End,
    Fault,
    Fence,
    Final,
    Read,
    Seen,
    Settled,
    Start,
    Submit,
)
from tests.sim import arrays, executor, history, judicator, simulation, workload
from tests.sim.clock import Clock
from tests.sim.executor import SLOTS
from tests.sim.history import History, Started, Try
from tests.sim.simulation import LATE_S, STORM_S, Simulation

#: An executor may stand still for forty seconds and be cut off for thirty before it hears that
#: what it holds is no longer its own; then it has a heartbeat and an audit to learn it.
BOUNDS = Bounds(waste_s=90.0, settle_s=LATE_S - STORM_S)
_DRIVEN = (arrays, executor, history, judicator, simulation, workload)


class Recorder(History):
    """A history that judges nothing."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        super().__init__(store)
        self._clock = clock
        self.events = checker_history.History()

    def saw(self, task: TaskId) -> None:
        try:
            now = run_now(self.store.tasks.get(task))
        except NotFound:
            return
        if self._last.get(task) != now:
            self._last[task] = now
            if now.spec.member is None:
                self._add_read(now)

    def _add_read(self, task: Task) -> None:
        at = self._clock.now
        self.events.add(
            Read(
                client="truth", at=at, until=at, result="ok", task=task.id, via="store",
                seen=_seen(task),
            )
        )  # fmt: skip

    def saw_session(self, name: ExecutorName, session: SessionNo) -> None:
        self.events.add(Fence(kind="session", owner=name, value=session, at=self._clock.now))

    def began(self, run: Run, started: Started) -> None:
        super().began(run, started)
        if not self._is_member(run[0]):
            self.events.add(
                Start(executor=started.executor, task=run[0], attempt=run[1], at=started.at)
            )

    def came_to_end(self, run: Run, outcome: Outcome) -> None:
        where = self.started[run].executor
        super().came_to_end(run, outcome)
        if not self._is_member(run[0]):
            self.events.add(End(executor=where, task=run[0], attempt=run[1], at=self._clock.now))

    def was_cancelled(self, task: TaskId, now: float) -> None:
        super().was_cancelled(task, now)
        if not self._is_member(task):
            self.events.add(Cancel(client="client", at=now, until=now, result="ok", task=task))

    def _is_member(self, task: TaskId) -> bool:
        try:
            return run_now(self.store.tasks.get(task)).spec.member is not None
        except NotFound:
            return False

    def check_killed(self, task: TaskId, since: float, now: float) -> None:
        """Not a promise that a client can see."""


def judge_seed(seed: int) -> list[Breach]:
    """Run a seed to its end, whatever happens in it, and have it judged by the checker alone."""
    with pytest.MonkeyPatch.context() as patch:
        for module in _DRIVEN:
            patch.setattr(module, "require", _nothing)
        run = Simulation(seed, Recorder)
        run.run()
    recorder = run.history
    assert isinstance(recorder, Recorder)
    _conclude(run, recorder)
    return judge(recorder.events, BOUNDS)


def _nothing(*_: object) -> None: ...


def _conclude(run: Simulation, recorder: Recorder) -> None:
    events, now = recorder.events, run.clock.now
    for each in recorder.tries:
        events.add(_submit(each))
    events.add(Asked(via="store", at=now))
    for task in recorder.tasks():
        if task.spec.member is None:
            events.add(Final(via="store", task=task.id, seen=_seen(task), at=now))
    events.add(Fault(name="storm", at=0.0, healed=STORM_S))
    left = tuple(str(each) for each in run.leftovers_at_rest)
    events.add(Settled(node="cluster", at=now, ready=True, slots=SLOTS, free=SLOTS, left=left))


def _submit(each: Try) -> Submit:
    nonce = str(each.number)
    return Submit(
        client="client",
        at=each.at,
        until=each.until,
        result=each.result,
        nonce=nonce,
        request="other" if each.other else "same",
        key=f"{nonce}: again" if each.keyed else None,
        task=each.task,
        conflict=each.conflict,
    )


def _seen(task: Task) -> Seen:
    nonce = str(task.spec.user)
    outcome = task.outcome
    if task.dispatch is not Dispatch.DONE or outcome is None:
        return Seen(state=task.dispatch.value, attempt=task.attempt, nonce=nonce)
    ran, _, _ = (outcome.note or "").partition(" ")
    return Seen(
        state=outcome.ending.value,
        attempt=task.attempt,
        nonce=nonce,
        reason=outcome.reason.value,
        output=" ".join((nonce, *ran.split("."))) if outcome.ending == "succeeded" else None,
    )
