"""An executor: the real `Agent`, a host that survives crashes on disk, and a link that dials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from khala.core.agent import Agent, Identity
from khala.core.ports import Conn
from khala.model.capabilities import CAPABILITY
from khala.model.executor import ImageInfo
from khala.model.ids import BootId, ExecutorName
from khala.model.limits import SESSION_TTL_S
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.spec import TaskSpec
from khala.model.task import Progress
from khala.model.wants import shortages
from khala.protocol.executor import FromExecutorMessage, Hello, Refused, Run, ToExecutorMessage
from tests.sim.clock import Clock, Node
from tests.sim.history import History, Started, require
from tests.sim.judicator import SimJudicator
from tests.sim.network import Connection, Network
from tests.sim.workload import CAPACITY, LONG_S, ZONES, Kind, kind_of

SLOTS = 3


class SimExecutor(Node):
    """`khala.core.agent.Host` and the process around it."""

    agent: Agent

    def __init__(self, clock: Clock, name: str, network: Network, history: History) -> None:
        super().__init__(clock, name)
        #: What the next process registers.
        self.images: Sequence[str] = ()
        self.speaks = CAPABILITY
        self._zone = ZONES[int(name[1:])]
        self._network = network
        self._history = history
        self.judicators: Sequence[SimJudicator] = ()
        #: On disk: these outlive the process.
        self._journal: set[Run] = set()
        self._spool: dict[Run, Outcome] = {}
        self._running: dict[Run, TaskSpec] = {}
        self._boot = BootId("")
        self._connection: Connection | None = None
        self._cancelled: set[Run] = set()

    def start_process(self) -> None:
        self.begin()
        self._boot = BootId(f"{self.name}/{self.life}")
        self._connection = None
        self._cancelled = set()
        identity = Identity(
            name=ExecutorName(self.name),
            boot=self._boot,
            version="1",
            enforcement="simulated",
            slots=SLOTS,
            capacity=CAPACITY,
            labels={"zone": self._zone},
            images=tuple(ImageInfo(name=name, identity="", size_bytes=0) for name in self.images),
            speaks=self.speaks,
        )
        self.agent = self.make_agent(identity)
        self.every(0.25, self.agent.on_tick)
        self.every(1.0, self._drop_silent_link)
        self.later(0.01, self._dial)

    def make_agent(self, identity: Identity) -> Agent:
        return Agent(identity, self, dict(self._spool))

    def die(self, *, silently: bool) -> None:
        """Its children die with it."""
        self.crash()
        for run, started in list(self._history.alive.items()):
            if started.executor == self.name:
                del self._history.alive[run]
        self._network.process_died(self, silently=silently)

    # ---- the link ---------------------------------------------------------------------------

    def _dial(self) -> None:
        judicator = self.clock.random.choice(self.judicators)
        connection = self._network.connect(self, judicator)
        if connection is None:
            self.later(self.clock.random.uniform(0.2, 2), self._dial)
            return
        self._connection = connection
        connection.executor.closed = lambda: self._disconnected(connection)
        judicator.accept_connection(self, connection)
        self.agent.on_connected()

    def _disconnected(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
            self.agent.on_disconnected()
            self.later(self.clock.random.uniform(0.2, 2), self._dial)

    def _drop_silent_link(self) -> None:
        connection = self._connection
        if connection is not None and (
            self.clock.now - connection.judicator.heard_at > SESSION_TTL_S
            and connection.judicator.alive
        ):
            judicator = connection.judicator
            judicator.node.later(0, lambda: connection.shut(judicator))

    def receive(self, conn: Conn, message: ToExecutorMessage) -> None:
        if self._connection is not None and self._connection.number == conn:
            self.agent.on_message(message)

    # ---- khala.core.agent.Host --------------------------------------------------------------

    def now(self) -> float:
        return self.clock.now

    def send(self, message: FromExecutorMessage) -> None:
        connection = self._connection
        if connection is None:
            return
        if isinstance(message, Refused):
            # A process keeps its images and its version, and a connection its process.
            require("no image" not in message.why, "given to one without the image", self, message)
            require("older" not in message.why, "given to one that is too old", self, message)
        judicator = connection.judicator.node
        if isinstance(judicator, SimJudicator):
            number = connection.number
            if isinstance(message, Hello):
                hello = message
                connection.send(
                    connection.executor, lambda: judicator.recovery.on_hello(number, hello)
                )
            else:
                other = message
                connection.send(
                    connection.executor, lambda: judicator.dispatcher.on_message(number, other)
                )

    def disconnect(self, why: str) -> None:
        connection = self._connection
        if connection is not None:
            self._history.counts["links dropped by executors"] += 1
            self.later(0, lambda: connection.shut(connection.executor))

    def has_started(self, run: Run) -> bool:
        return run in self._journal

    def start(self, run: Run, spec: TaskSpec) -> None:
        self._cancelled.discard(run)
        self.later(self.clock.random.uniform(0.001, 0.02), lambda: self._begin(run, spec))

    def _begin(self, run: Run, spec: TaskSpec) -> None:
        if run in self._cancelled:
            return
        self._journal.add(run)
        self._check_room(run, spec)
        started = Started(ExecutorName(self.name), self._boot, self.clock.now)
        self._history.began(run, started)
        self.agent.on_progress(run, Progress.RUNNING)
        kind = kind_of(spec)
        seconds = LONG_S if kind is Kind.LONG else self.clock.random.uniform(0.5, 15)
        self.later(seconds, lambda: self._end(run, kind))

    def _check_room(self, run: Run, spec: TaskSpec) -> None:
        """What runs here never takes up more than there is, and may run here."""
        require(spec.wants.welcome_at({"zone": self._zone}), "run in the wrong place", run, self)
        self._running[run] = spec
        taken: Counter[str] = Counter()
        for other in self._running.keys() & self._history.alive.keys() | {run}:
            if other == run or self._history.alive[other].executor == self.name:
                taken.update(self._running[other].wants.amounts)
        require(not shortages(taken, CAPACITY), "more is taken up than there is", run, taken)

    def _end(self, run: Run, kind: Kind) -> None:
        if run in self._cancelled:
            return
        if kind is Kind.POISON:
            self.replace_process(1.0, silently=False)
            return
        luck = self.clock.random.random() if self._network.weather.stormy else 1.0
        if luck < 0.03:
            del self._history.alive[run]
            self.agent.on_lost(run)
        elif luck < 0.06:
            del self._history.alive[run]
            self.agent.on_refused(run, "its payload cannot be read")
        else:
            fails = kind is Kind.FLAKY and self.clock.random.random() < 0.7
            outcome = Outcome(
                ending=Ending.FAILED if fails else Ending.SUCCEEDED,
                reason=Reason.EXIT_NONZERO if fails else Reason.OK,
                note=f"{run[0]}.{run[1]} on {self._boot}",
            )
            self._history.came_to_end(run, outcome)
            self._spool[run] = outcome
            self.agent.on_spooled(run, outcome)

    def stop(self, run: Run, grace_s: float) -> None:
        self._cancelled.add(run)
        if grace_s > 0:
            self.later(grace_s if run in self._history.alive else 0, lambda: self._gone(run))
        else:
            self._history.alive.pop(run, None)

    def _gone(self, run: Run) -> None:
        self._history.alive.pop(run, None)
        self.agent.on_gone(run)

    def forget(self, run: Run) -> None:
        """As the spool and the journal on disk do: what the store has is of no use here."""
        self._spool.pop(run, None)
        self._journal.discard(run)

    # ---- operations -------------------------------------------------------------------------

    def drain(self, patience: float) -> None:
        """An operator's restart: stop, wait for what runs, give the rest back, start again."""
        self.agent.begin_stop()
        self.later(patience, self.agent.give_up_runs)
        self.later(patience + 2, lambda: self.replace_process(1.0, silently=False))

    def leftover(self) -> list[object]:
        """What should be empty when all is done."""
        return [*self.agent.running, *self.agent.spool, *self._spool]
