"""A judicator: the real `Dispatcher` and `Recovery`, ticks, a pulse, and leadership for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from khala.core.dependencies import Dependencies
from khala.core.dispatch import Dispatcher
from khala.core.expansion import Expansion
from khala.core.facts import Fact
from khala.core.ports import Conn
from khala.core.recovery import Recovery
from khala.model.executor import SessionState
from khala.model.ids import Incarnation, JudicatorName, TaskId
from khala.model.limits import AUDIT_INTERVAL_S, PULSE_TTL_S
from khala.model.spec import StageLimits, TaskSpec
from khala.model.task import TaskBrief
from khala.protocol.executor import ToExecutorMessage
from khala.store.memory import MemoryStore, run_now
from tests.sim.clock import Clock, Node
from tests.sim.history import EPOCH, History, require
from tests.sim.jobs import DoubtfulJobs
from tests.sim.network import Connection, Network
from tests.sim.store import DoubtfulPredecessors, DoubtfulStore

if TYPE_CHECKING:
    from tests.sim.executor import SimExecutor

Item = TypeVar("Item")
_LIMITS = StageLimits(
    wall_ms=1000, cpu_ms=1000, memory_bytes=1, pids=1, output_bytes=1, file_bytes=1
)
#: A task that any executor can run.
ANY = TaskSpec(
    user=0,
    compile_timeout_s=0,
    execute_timeout_s=0,
    compile_limits=_LIMITS,
    execute_limits=_LIMITS,
    parts={},
)


class SimJudicator(Node):
    """`khala.core.ports.Comm` and the process around it."""

    dispatcher: Dispatcher
    recovery: Recovery
    expansion: Expansion
    dependencies: Dependencies

    def __init__(
        self, clock: Clock, name: str, store: MemoryStore, history: History, network: Network
    ) -> None:
        super().__init__(clock, name)
        self.store = DoubtfulStore(self, store.dispatch, history, network.weather)
        self._jobs = DoubtfulJobs(self.store, store.expansion)
        self._predecessors = DoubtfulPredecessors(self.store, store.predecessors)
        self._truth = store.dispatch
        self._network = network
        self._links: dict[Conn, tuple[SimExecutor, Connection]] = {}
        #: Every judicator; the ones that are up are what the registry shows.
        self.all: Sequence[SimJudicator] = ()

    @property
    def incarnation(self) -> Incarnation:
        return Incarnation(f"{self.name}/{self.life}")

    def start_process(self) -> None:
        self.begin()
        self._links = {}
        self.dispatcher = Dispatcher(JudicatorName(self.name), self.incarnation, self.store, self)
        self.recovery = Recovery(self.dispatcher)
        self.expansion = Expansion(self.dispatcher, self._jobs, self)
        self.dependencies = Dependencies(self.dispatcher, self._predecessors, self)
        self.every(0.2, self.dispatcher.on_tick)
        self.every(0.5, self.recovery.on_tick)
        self.every(0.2, self.expansion.on_tick)
        self.every(0.2, self.dependencies.on_tick)
        self.every(1.0, self._pulse)
        self.every(1.0, self._check_indexes)
        self.every(AUDIT_INTERVAL_S, lambda: self.spawn(self._lead()))

    def die(self, *, silently: bool) -> None:
        self.crash()
        self._network.process_died(self, silently=silently)

    def _pulse(self) -> None:
        down_since = self.store.down_from
        down = self.clock.now < self.store.down_until
        self.dispatcher.serving = not (down and self.clock.now - down_since > PULSE_TTL_S)

    def _check_indexes(self) -> None:
        """The reactor's picture agrees with itself and with the sockets."""
        sessions = self.dispatcher.sessions
        free = sum(session.free for session in sessions.values())
        require(sessions.free == free, "free slots are miscounted", sessions.free, free)
        for session in sessions.values():
            used = sum(not held.finished for held in session.held.values())
            require(session.used == used, "used slots are miscounted", session)
            taken: Counter[str] = Counter()
            for held in session.held.values():
                taken.update(held.amounts or {})
            require(+session.taken == +taken, "what is taken is miscounted", session)
            require(
                session.conn is None or session.conn in self._links,
                "a session hangs on a connection that is gone",
                session,
            )
        best = sessions.roomiest(ANY)
        room = max((session.free for session in sessions.values()), default=0)
        require((best.free if best else 0) == room, "the roomiest is not", best, room)
        for shape in sessions.shapes:
            free = sum(s.free for s in sessions.values() if shape in s.shapes)
            require(sessions.free_for(shape) == free, "free slots are miscounted", shape, free)

    async def _lead(self) -> None:
        """Everybody leads, and suspects the living now and then: the worst that an election and
        a registry could do."""
        alive = {other.incarnation for other in self.all if other.up}
        await self.recovery.lead_once(alive)
        if self._network.weather.stormy:
            for record in run_now(self._truth.list_executors()):
                if self.clock.random.random() < 0.02 and record.state is SessionState.ONLINE:
                    self.spawn(self.recovery.expire(record.name, record.session))

    # ---- connections ------------------------------------------------------------------------

    def accept_connection(self, executor: SimExecutor, connection: Connection) -> None:
        conn = connection.number
        self._links[conn] = (executor, connection)
        connection.judicator.closed = lambda: self._closed(conn)

    def _closed(self, conn: Conn) -> None:
        self._links.pop(conn, None)
        self.dispatcher.on_closed(conn)

    # ---- khala.core.ports.Comm --------------------------------------------------------------

    def send(self, conn: Conn, message: ToExecutorMessage) -> None:
        link = self._links.get(conn)
        if link is not None:
            executor, connection = link
            connection.send(connection.judicator, lambda: executor.receive(conn, message))

    def close(self, conn: Conn, why: str) -> None:
        link = self._links.get(conn)
        if link is not None:
            connection = link[1]
            self.later(0, lambda: connection.shut(connection.judicator))

    def changed(self, brief: TaskBrief) -> None:
        self.expansion.on_changed(brief)
        self.dependencies.on_changed(brief)

    def touched(self, task: TaskId) -> None:
        pass

    def happened(self, fact: Fact) -> None:
        pass

    def now(self) -> float:
        return self.clock.now

    def wall_time(self) -> datetime:
        return wall_of(self.clock)()

    def peers(self) -> list[str]:
        return [other.name for other in self.all if other.up]

    def shuffle(self, items: list[Item]) -> None:
        self.clock.random.shuffle(items)


def wall_of(clock: Clock) -> Callable[[], datetime]:
    return lambda: EPOCH + timedelta(seconds=clock.now)
