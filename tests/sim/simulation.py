"""One seed: a storm of ninety seconds, calm, and then everything must be as if nothing had been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from khala.model.capabilities import CAPABILITY
from khala.model.executor import SessionState
from khala.model.ids import TaskId
from khala.model.limits import AUDIT_INTERVAL_S, HEARTBEAT_S
from khala.model.task import Dispatch
from khala.store.memory import MemoryStore, run_now
from tests.sim.arrays import Arrays
from tests.sim.clock import Clock
from tests.sim.executor import SLOTS, SimExecutor
from tests.sim.history import History, require
from tests.sim.judicator import SimJudicator, wall_of
from tests.sim.network import Network
from tests.sim.store import Weather
from tests.sim.workload import GRACE_S, IMAGES, LATE, OLD, Client, Kind, kind_at

TASKS = 60
STORM_S = 90.0
#: By then everything that was accepted has ended, whatever the storm did.
CALM_S = 500.0
#: The same for what waits for an image that comes only then.
LATE_S = 800.0
#: A cancel that any judicator took reaches the run: by the owner's audit, at the latest.
KILL_S = AUDIT_INTERVAL_S + HEARTBEAT_S + GRACE_S


@dataclass(slots=True)
class Report:
    seed: int
    counts: Counter[str]
    #: Virtual seconds until all was done.
    done_at: float


def _history(store: MemoryStore, clock: Clock) -> History:
    return History(store)


MakeHistory = Callable[[MemoryStore, Clock], History]


class Simulation:
    """Three judicators, four executors of three slots, sixty tasks."""

    def __init__(self, seed: int, make_history: MakeHistory = _history) -> None:
        self.seed = seed
        self.clock = Clock(seed)
        self.random = self.clock.random
        self.weather = Weather()
        store = MemoryStore(wall_of(self.clock))
        self.truth = store.dispatch
        self.history = make_history(store, self.clock)
        self.network = Network(self.clock, self.weather)
        self.judicators = [
            SimJudicator(self.clock, f"J{n}", store, self.history, self.network) for n in range(3)
        ]
        self.executors = [
            SimExecutor(self.clock, f"E{n}", self.network, self.history) for n in range(len(IMAGES))
        ]
        for judicator in self.judicators:
            judicator.all = self.judicators
            judicator.start_process()
        for executor, images, old in zip(self.executors, IMAGES, OLD, strict=True):
            executor.judicators = self.judicators
            executor.images, executor.speaks = images, 0 if old else CAPABILITY
            executor.start_process()
        self.client = Client(self.clock, self.judicators, self.history)
        self.leftovers_at_rest: list[object] = []
        self.arrays = Arrays(self.clock, store, self.history)

    # ---- the storm --------------------------------------------------------------------------

    def plan(self) -> None:
        uniform, at = self.random.uniform, self.clock.at
        for number in range(TASKS):
            kind = kind_at(number)
            if number == 7 and self.random.random() < 0.3:
                kind = Kind.POISON
            keyed = self.random.random() < 0.8
            at(uniform(0, 40), self.client.submission(kind, keyed=keyed))
        self.arrays.plan()
        for _ in range(8):
            at(uniform(5, 60), self._cancel_one)
        for _ in range(4):
            at(uniform(20, 80), self._reuse_one_key)
        for _ in range(20):
            at(uniform(1, 75), self._crash_one)
        for _ in range(6):
            at(uniform(1, 80), self._pause_one)
        for _ in range(10):
            at(uniform(1, 85), self._break_one)
        for _ in range(5):
            at(uniform(1, 80), self._cut_one)
        for _ in range(3):
            at(uniform(1, 80), self._cut_store)
        for _ in range(3):
            at(uniform(1, 80), self._drain_one)
        for _ in range(2):
            at(uniform(1, 80), self._fill_disk)
        if self.random.random() < 0.3:
            at(uniform(30, 85), self._bury_executor)
        if self.random.random() < 0.2:
            at(uniform(30, 85), self._bury_judicator)

    def _cancel_one(self) -> None:
        tasks = self.history.tasks()
        if tasks:
            self.client.cancel(self.random.choice(tasks).id)

    def _reuse_one_key(self) -> None:
        keyed = [s for s in self.client.submissions if s.keyed]
        if keyed:
            self.client.reuse_key(self.random.choice(keyed))

    def _crash_one(self) -> None:
        node = self.random.choice([*self.judicators, *self.executors])
        if node.up:
            node.replace_process(self.random.uniform(0.5, 15), silently=self.random.random() < 0.3)

    def _pause_one(self) -> None:
        node = self.random.choice([*self.judicators, *self.executors])
        node.paused_until = self.clock.now + self.random.uniform(1, 40)

    def _break_one(self) -> None:
        connections = [c for c in self.network.connections if not c.broken]
        if connections:
            self.random.choice(connections).break_up(notice=0.7)

    def _cut_one(self) -> None:
        pair = [self.random.choice(self.judicators), self.random.choice(self.executors)]
        until = self.clock.now + self.random.uniform(1, 30)
        self.network.cut(pair[0], pair[1], until)
        if self.random.random() < 0.6:
            self.network.cut(pair[1], pair[0], until)

    def _cut_store(self) -> None:
        """From one judicator (a partition) or from all (an election)."""
        until = self.clock.now + self.random.uniform(1, 12)
        everybody = self.random.random() < 0.5
        for judicator in self.judicators if everybody else self.judicators[:1]:
            judicator.store.cut_off(until)

    def _drain_one(self) -> None:
        executor = self.random.choice(self.executors)
        if executor.up:
            executor.drain(self.random.uniform(0, 8))

    def _fill_disk(self) -> None:
        executor = self.random.choice(self.executors)
        if executor.up:
            agent = executor.agent
            agent.accepts_work = False
            executor.later(self.random.uniform(1, 30), lambda: setattr(agent, "accepts_work", True))

    def _bury_executor(self) -> None:
        self.executors[0].bury(silently=self.random.random() < 0.5)

    def _bury_judicator(self) -> None:
        self.judicators[0].bury(silently=self.random.random() < 0.5)

    # ---- the calm ---------------------------------------------------------------------------

    def run(self) -> Report:
        try:
            return self._run()
        finally:
            for node in (*self.judicators, *self.executors):
                node.crash()  # closes the flows that are left

    def _run(self) -> Report:
        self.plan()
        self.clock.run(STORM_S)
        self.weather.stormy = False
        self.clock.run(STORM_S + 40)
        self._check_cancel_reaches_runs()
        while self.clock.now < CALM_S and self._open_but_late():
            self.clock.run(self.clock.now + 5)
        require(not self._open_but_late(), "held up by what nobody can run", self.clock.now)
        self.executors[2].images = (LATE,)
        self.executors[2].replace_process(1.0, silently=False)
        while self.clock.now < LATE_S and not self._quiet():
            self.clock.run(self.clock.now + 5)
        done_at = self.clock.now
        self.history.check_results()
        self.arrays.check()
        self.leftovers_at_rest = self._leftovers()
        require(not self.leftovers_at_rest, "left over", *self.leftovers_at_rest)
        return Report(self.seed, self.history.counts, done_at)

    def _check_cancel_reaches_runs(self) -> None:
        for _ in range(3):
            self.client.submission(Kind.LONG, keyed=True)()
        self.clock.run(self.clock.now + 15)
        running: list[TaskId] = [
            self.history.accepted[s.number]
            for s in self.client.submissions[-3:]
            if s.number in self.history.accepted
        ]
        for task in running:
            self.client.cancel(task)
        at = self.clock.now
        self.clock.run(at + KILL_S)
        for task in self.history.cancelled:
            self.history.check_killed(task, at, self.clock.now)

    def _open_but_late(self) -> bool:
        """Something waits, other than for the image that no executor has yet."""
        return any(
            task.dispatch is not Dispatch.DONE and task.spec.image != LATE
            for task in self.history.tasks()
        )

    def _quiet(self) -> bool:
        return (
            all(task.dispatch is Dispatch.DONE for task in self.history.tasks())
            and not self._leftovers()
        )

    def _leftovers(self) -> list[object]:
        """Whatever is held, running, spooled or half known: nothing of it may outlive its task."""
        left: list[object] = self.arrays.left()
        current = {(r.name, r.session): r for r in run_now(self.truth.list_executors())}
        free = 0
        for judicator in self.judicators:
            if not judicator.up:
                continue
            free += judicator.dispatcher.free
            left.extend(["ready"] * len(judicator.dispatcher.ready))
            for session in judicator.dispatcher.sessions.values():
                left.extend((judicator.name, session.name, run) for run in session.held)
                record = current.pop((session.name, session.number), None)
                if record is None or record.owner.incarnation != judicator.incarnation:
                    left.append(("a session of nobody", judicator.name, session.name))
        left.extend(("nobody's", r) for r in current.values() if r.state is SessionState.ONLINE)
        for executor in self.executors:
            if executor.up:
                left.extend((executor.name, each) for each in executor.leftover())
        slots = SLOTS * sum(executor.up for executor in self.executors)
        if free != slots:
            left.append(f"{free} of {slots} slots are free")
        return left


def simulate(seed: int) -> Report:
    """Raise `Violation` if the seed breaks a rule."""
    return Simulation(seed).run()
