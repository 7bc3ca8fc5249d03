"""Connections between executors and judicators.

Half of them behave like TCP: in order, nothing lost until they break. The other half lose,
repeat, delay and reorder, which is worse than any network but proves that nothing leans on the
order of messages. Either end may learn of a break late, or never.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from khala.core.ports import Conn
from tests.sim.clock import Clock, Node
from tests.sim.store import Weather


class End:
    """One side of a connection, tied to one life of its process."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.life = node.life
        self.open = True
        self.heard_at = node.clock.now
        self.closed: Callable[[], None] = lambda: None
        #: When the last message in order arrives here.
        self.busy_until = 0.0

    def close_later(self, delay: float) -> None:
        self.node.clock.after(delay, lambda: self.node.later(0, self.close))

    @property
    def alive(self) -> bool:
        return self.open and self.node.up and self.node.life == self.life

    def close(self) -> None:
        """This side notices that the connection is over."""
        if self.alive:
            self.open = False
            self.closed()
        self.open = False


class Connection:
    """A WebSocket between an executor and a judicator."""

    def __init__(self, network: Network, number: Conn, executor: End, judicator: End) -> None:
        self.network = network
        self.number = number
        self.executor = executor
        self.judicator = judicator
        self.broken = False
        self.wild = network.weather.stormy and network.clock.random.random() < 0.5

    def send(self, source: End, take: Callable[[], None]) -> None:
        """Have `take` called on the other side, if the network pleases."""
        target = self.judicator if source is self.executor else self.executor
        if not source.alive or self.broken or self.network.is_cut(source.node, target.node):
            return
        clock = self.network.clock
        if self.wild and self.network.weather.stormy:
            luck = clock.random.random()
            for _ in range(0 if luck < 0.05 else 2 if luck < 0.1 else 1):
                slow = clock.random.random() < 0.1
                delay = clock.random.uniform(*((0.1, 8) if slow else (0.001, 0.05)))
                self._deliver(clock.now + delay, target, take)
        else:
            at = max(target.busy_until, clock.now + clock.random.uniform(0.001, 0.02))
            target.busy_until = at
            self._deliver(at, target, take)

    def _deliver(self, at: float, target: End, take: Callable[[], None]) -> None:
        def arrive() -> None:
            if target.alive and not self.broken:
                target.heard_at = self.network.clock.now
                take()

        self.network.clock.at(at, lambda: target.node.later(0, arrive))

    def shut(self, source: End, after: float = 0.001) -> None:
        """`source` closes; the other side learns of it when everything sent has arrived."""
        other = self.judicator if source is self.executor else self.executor
        source.close()
        if self.broken or self.network.is_cut(source.node, other.node):
            return
        other.close_later(max(other.busy_until - self.network.clock.now, after))

    def break_up(self, *, notice: float) -> None:
        """The middle is gone; each side learns of it by itself with probability `notice`, else
        by silence alone."""
        self.broken = True
        clock = self.network.clock
        for end in (self.executor, self.judicator):
            if clock.random.random() < notice:
                end.close_later(clock.random.uniform(0.001, 2))


class Network:
    """All connections, and who cannot reach whom."""

    def __init__(self, clock: Clock, weather: Weather) -> None:
        self.clock = clock
        self.weather = weather
        self.connections: list[Connection] = []
        self._numbers = itertools.count(1)
        self._cut: dict[tuple[str, str], float] = {}

    def cut(self, source: Node, target: Node, until: float) -> None:
        """Nothing gets from `source` to `target`; the other direction may work."""
        self._cut[source.name, target.name] = until

    def is_cut(self, source: Node, target: Node) -> bool:
        return self.clock.now < self._cut.get((source.name, target.name), 0.0)

    def connect(self, executor: Node, judicator: Node) -> Connection | None:
        """None if there is no way."""
        if not judicator.up or self.is_cut(executor, judicator) or self.is_cut(judicator, executor):
            return None
        connection = Connection(self, Conn(next(self._numbers)), End(executor), End(judicator))
        self.connections = [c for c in self.connections if c.executor.open or c.judicator.open]
        self.connections.append(connection)
        return connection

    def process_died(self, node: Node, *, silently: bool) -> None:
        """Its sockets close, unless the whole host vanished."""
        for connection in self.connections:
            for end, other in (
                (connection.executor, connection.judicator),
                (connection.judicator, connection.executor),
            ):
                if end.node is node and end.open:
                    end.open = False
                    connection.broken = True
                    if not silently:
                        other.close_later(0.01)
