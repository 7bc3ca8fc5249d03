"""What a row of the table of faults is, and what all rows use.

A row is a function of a scene and of a source of chance, which its seed makes: the same seed is the
same fault at the same moments, on the same victims (where these are not a matter of who leads). It
returns when what it broke is healed.

The bounds hold on two processors that have nothing else to do and are stretched on busy ones, by as
much as the start of a process takes longer there: they catch an outage, and how long each pause
really was is reported.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.cluster.faults.cluster import Cluster
from tests.cluster.faults.service import Service
from tests.cluster.faults.traffic import LONG, Traffic, Work
from tests.cluster.harness import wait_until

ETCD_PEER, ETCD_CLIENT, MONGODB, RPC = 2000, 2001, 3000, 4000
#: The longest time without an accepted submission, twice the promise: where nothing may be noticed
#: but that a request is sent again, where judicators notice that one is cut off, and where a
#: database elects.
PAUSE_S, NOTICED_S, ELECTION_S = 6.0, 12.0, 24.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a row acts in."""

    cluster: Cluster
    traffic: Traffic
    chance: random.Random

    def executor(self) -> Service:
        return self.chance.choice(self.cluster.executors)

    def judicator(self) -> Service:
        return self.chance.choice(self.cluster.judicators)

    def pause(self, seconds: float) -> None:
        """About that long: faults must not keep step with timers."""
        time.sleep(seconds * self.chance.uniform(0.8, 1.2))


#: For whatever must happen, however busy the machine is.
PATIENCE_S = 240.0
Act = Callable[[Scene], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    what: str
    act: Act
    #: Longest time without an accepted submission; None where none is promised.
    submit_gap_s: float | None
    #: Until the next row of its kind may begin.
    wait_well: Callable[[Cluster], None]


class Table:
    """Rows of one kind of hosts, and how it is found out that all of these are well again."""

    def __init__(self, wait_well: Callable[[Cluster], None]) -> None:
        self.rows: dict[str, Row] = {}
        self._wait_well = wait_well

    def row(self, name: str, what: str, submit_gap_s: float | None = None) -> Callable[[Act], Act]:
        def add(act: Act) -> Act:
            assert name not in self.rows
            self.rows[name] = Row(
                name=name, what=what, act=act, submit_gap_s=submit_gap_s, wait_well=self._wait_well
            )
            return act

        return add


def wait(condition: Callable[[], Any], what: str) -> Any:
    return wait_until(condition, PATIENCE_S, what)


@contextmanager
def healed(*services: Service) -> Iterator[None]:
    try:
        yield
    finally:
        for service in services:
            service.host.heal()


@contextmanager
def frozen(word: str, *services: Service) -> Iterator[None]:
    try:
        for service in services:
            service.host.freeze(word)
        yield
    finally:
        for service in services:
            service.host.thaw(word)


def wait_ended(scene: Scene, task: str | None) -> None:
    def ended() -> bool:
        gateway = scene.cluster.gateways[0]
        status, told = scene.cluster.call(gateway, "GET", f"/api/v2/tasks/{task}")
        return status == 200 and told["finished_at"] is not None

    wait(ended, f"{task} ends")


def at_work(scene: Scene) -> tuple[Service, list[str]]:
    """An executor that has just begun one of these tasks, which are long."""
    tasks = [task for task in (scene.traffic.submit(LONG) for _ in range(3)) if task is not None]
    witnesses = scene.cluster.witnesses

    def begun() -> list[Service]:
        return [
            each
            for each in scene.cluster.executors
            if any(witnesses[each.name].attempts(task) for task in tasks)
        ]

    busy: list[Service] = wait(begun, f"one of {tasks} begins")
    return scene.chance.choice(busy), tasks


def _renew(service: Service, number: signal.Signals, words: tuple[str, ...]) -> None:
    """What the other lane has killed meanwhile is renewed all the same."""
    before = wait(lambda: service.host.pids_of(*words), f"{words} of {service.name} runs")
    service.host.signal(number, *words)

    def renewed() -> bool:
        now = service.host.pids_of(*words)
        return bool(now) and not set(now) & set(before)

    wait(renewed, f"{words} of {service.name} is started again")


def kill_until_back(service: Service, *words: str) -> None:
    """The role's own process, or those with these words; until there are others."""
    _renew(service, signal.SIGKILL, words or (service.word, service.name))


def restart(service: Service) -> None:
    """As an operator does; until it is another process."""
    _renew(service, signal.SIGTERM, (service.word, service.name))


def die_at(point: str, word: str, user: int | None = None) -> Act:
    """Twice: the second time, it is a process that has just come back, or another."""

    def die(scene: Scene) -> None:
        for _ in range(2):
            scene.pause(0.5)
            with scene.cluster.armed_for(point) as armed:
                # Some come by only when all slots are taken.
                for _ in range(8):
                    scene.traffic.submit(Work("sleep 1", 1), user)
                wait(lambda: not armed(), f"{word} died at {point}")
            scene.pause(1)

    return die
