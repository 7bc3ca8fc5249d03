"""The table of faults: what happens, to whom, for how long, and what is promised meanwhile.

A row is a function of a cluster and of a source of chance, which its seed makes: the same seed is
the same fault at the same moments, on the same victims. It returns when everything is whole again.

The bounds hold on an idle machine and are stretched on a busy one, by as much as the start of a
process takes longer there: they catch an outage, and how long each pause really was is reported.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cluster.harness import wait_until
from tests.hosts.cluster import Cluster, Service
from tests.hosts.slow import slow_way
from tests.hosts.traffic import LONG, Traffic, Work

ETCD_CLIENT, MONGODB, RPC = 2001, 3000, 4000
#: Twice what a pause may take anywhere but in an election (a process starts again), and with one.
PAUSE_S, ELECTION_S = 12.0, 24.0
Act = Callable[[Cluster, Traffic, random.Random], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    what: str
    act: Act
    #: Longest time without an accepted submission; None where none is promised.
    submit_gap_s: float | None
    #: It kills what a supervisor restarts.
    kills: bool


ROWS: list[Row] = []


def row(
    name: str, what: str, submit_gap_s: float | None = None, *, kills: bool = False
) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        ROWS.append(Row(name=name, what=what, act=act, submit_gap_s=submit_gap_s, kills=kills))
        return act

    return add


@contextmanager
def _healed(service: Service) -> Iterator[None]:
    try:
        yield
    finally:
        service.host.heal()


def _victim(cluster: Cluster, chance: random.Random) -> Service:
    return chance.choice(cluster.executors)


def _about(seconds: float, chance: random.Random) -> float:
    """Faults must not keep step with timers."""
    return seconds * chance.uniform(0.8, 1.2)


def _wait_ended(cluster: Cluster, task: str | None) -> None:
    def ended() -> bool:
        status, told = cluster.call(cluster.gateways[0], "GET", f"/api/v2/tasks/{task}")
        return status == 200 and told["finished_at"] is not None

    wait_until(ended, 90, f"{task} ends")


def _wait_started(cluster: Cluster, task: str, attempt: int) -> Service:
    """The executor that runs it."""

    def where() -> Service | None:
        ran = (e for e in cluster.executors if cluster.witnesses[e.name].started(task, attempt))
        return next(ran, None)

    found: Service = wait_until(where, 60, f"attempt {attempt} of {task} starts")
    return found


# ---- executors ------------------------------------------------------------------------------


@row("F1", "an executor is killed and comes back", PAUSE_S)
def executor_killed(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    for _ in range(2):
        victim = _victim(cluster, chance)
        traffic.submit(LONG)
        time.sleep(_about(1, chance))
        victim.kill9()
        time.sleep(_about(4, chance))


@row("F1-gone", "an executor is killed and stays away until its tasks are others'", PAUSE_S)
def executor_gone(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    victim = _victim(cluster, chance)
    tasks = [traffic.submit(LONG) for _ in range(4)]
    victim.stay_down()
    for task in tasks:
        _wait_ended(cluster, task)
    victim.come_back()


@row("F2", "an executor stands still until its tasks are others', and goes on", PAUSE_S)
def executor_stands_still(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    victim = _victim(cluster, chance)
    for _ in range(4):
        traffic.submit(LONG)
    time.sleep(1)
    victim.host.freeze(victim.word, victim.name)
    try:
        time.sleep(_about(32, chance))
    finally:
        victim.host.thaw(victim.word, victim.name)


@row("F3", "an operator restarts an executor", PAUSE_S)
def executor_restarted(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    traffic.submit(LONG)
    time.sleep(_about(1, chance))
    _victim(cluster, chance).restart()
    time.sleep(_about(8, chance))


@row("F6", "an executor is cut off from its judicator, silently", PAUSE_S)
def executor_cut_off(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    victim = _victim(cluster, chance)
    traffic.submit(LONG)
    with _healed(victim):
        victim.host.cut(RPC)
        time.sleep(_about(10, chance))


@row("F6-unplugged", "an executor's network is unplugged, until its tasks are others'", PAUSE_S)
def executor_unplugged(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    victim = _victim(cluster, chance)
    tasks = [traffic.submit(LONG) for _ in range(4)]
    time.sleep(1)
    victim.host.unplug()
    try:
        for task in tasks:
            _wait_ended(cluster, task)
    finally:
        victim.host.plug_in()


@row("F7", "executors and gateways are cut off from every judicator")
def cut_from_judicators(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    traffic.submit(LONG)
    _cut(cluster, RPC, _about(12, chance))


@row("F15", "an executor's disk is full", PAUSE_S)
def executor_disk_full(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    victim = _victim(cluster, chance)
    victim.fill_disk()
    try:
        time.sleep(_about(8, chance))
    finally:
        victim.free_disk()


@row("F17", "the date of an executor is an hour early, then an hour late", PAUSE_S)
def executor_clock(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    victim = _victim(cluster, chance)
    try:
        for offset in ("+3600", "-3600"):
            victim.set_clock(offset)
            victim.restart()
            time.sleep(_about(8, chance))
    finally:
        victim.set_clock(None)
        victim.restart()


@row("F18", "an executor is 200 ms away, and one packet of twenty is lost", PAUSE_S)
def slow_network(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    victim, judicator = _victim(cluster, chance), cluster.judicator
    with slow_way(judicator.host.address, RPC, 0.2) as port, _healed(victim), _healed(judicator):
        victim.host.detour(RPC, port)
        victim.restart()
        judicator.host.lose(0.05)
        time.sleep(_about(20, chance))


@row("F21", "tasks take all they can: memory, processes, output, disk", PAUSE_S)
def greedy_tasks(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    greedy = [
        Work("x=$(tr '\\0' x </dev/zero)", 1, wall_s=5),
        Work(":(){ :|:& }; :; while :; do :; done", 1, wall_s=2),
        Work("yes", 1, wall_s=5),
        Work("cat /dev/zero >/tmp/f", 1, wall_s=5),
    ]
    chance.shuffle(greedy)
    for work in greedy:
        traffic.submit(work)


@row("F22", "an executor's host loses its power and boots", PAUSE_S)
def executor_host_lost(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    traffic.submit(LONG)
    time.sleep(1)
    _victim(cluster, chance).reboot(_about(5, chance))


@row("F24", "a task kills every executor that it runs on", PAUSE_S)
def poison(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    task = traffic.submit(Work("sleep 25", 1))
    assert task is not None
    for attempt in (1, 2, 3):
        _wait_started(cluster, task, attempt).kill9()
    _wait_ended(cluster, task)
    seen = traffic.read(task, cluster.gateways[1])
    assert seen is not None and seen.reason == "executor_lost_repeatedly", seen


# ---- the judicator --------------------------------------------------------------------------


@row("F4", "the serving process is killed", PAUSE_S, kills=True)
def serving_killed(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    for _ in range(2):
        cluster.judicator.host.kill9("judicator-serve")
        time.sleep(_about(6, chance))


@row("F5", "the only judicator's host loses its power and boots")
def judicator_host_lost(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    traffic.submit(LONG)
    cluster.judicator.reboot(_about(5, chance))
    time.sleep(10)


@row("F8", "the judicator is cut off from MongoDB, silently")
def cut_from_mongodb(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    _cut(cluster, MONGODB, _about(8, chance))


@row("F8-reset", "the judicator is cut off from MongoDB, with an answer")
def refused_by_mongodb(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    _cut(cluster, MONGODB, _about(8, chance), answer=True)


@row("F9", "the judicator is cut off from etcd", PAUSE_S)
def cut_from_etcd(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    _cut(cluster, ETCD_CLIENT, _about(10, chance))


def _cut(cluster: Cluster, port: int, seconds: float, *, answer: bool = False) -> None:
    with _healed(cluster.judicator):
        cluster.judicator.host.cut(port, answer=answer)
        time.sleep(seconds)


@row("F10", "mongod is killed", ELECTION_S, kills=True)
def mongod_killed(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    cluster.judicator.host.kill9("mongod")
    time.sleep(_about(10, chance))


@row("F12", "the majority of etcd is lost", PAUSE_S, kills=True)
def etcd_lost(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    host = cluster.judicator.host
    host.kill9("etcd")
    time.sleep(_about(3, chance))
    host.freeze("etcd")
    try:
        time.sleep(_about(10, chance))
    finally:
        host.thaw("etcd")


@row("F13", "the majority of MongoDB stands still")
def mongod_stands_still(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    cluster.judicator.host.freeze("mongod")
    try:
        time.sleep(_about(14, chance))
    finally:
        cluster.judicator.host.thaw("mongod")


@row("F14", "the disk of MongoDB and etcd is full")
def judicator_disk_full(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    cluster.judicator.fill_disk()
    try:
        time.sleep(_about(10, chance))
    finally:
        cluster.judicator.free_disk()
    time.sleep(5)


@row("F19", "a gateway is killed", PAUSE_S)
def gateway_killed(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    for _ in range(2):
        chance.choice(cluster.gateways).kill9()
        time.sleep(_about(4, chance))


@row("F23", "the serving process stands still", ELECTION_S, kills=True)
def serving_stands_still(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
    cluster.judicator.host.freeze("judicator-serve")
    try:
        time.sleep(_about(15, chance))
    finally:
        cluster.judicator.host.thaw("judicator-serve")


# ---- death at an exact line -----------------------------------------------------------------


def _at(point: str) -> Act:
    def die(cluster: Cluster, traffic: Traffic, chance: random.Random) -> None:
        for _ in range(2):
            time.sleep(chance.uniform(0, 1))
            cluster.arm(point)
            # Some come by only when all slots are taken.
            for _ in range(6):
                traffic.submit(Work("sleep 1", 1))
            wait_until(lambda: not cluster.armed(point), 30, f"a process died at {point}")
            time.sleep(_about(3, chance))

    return die


for _point, _what, _kills in (
    ("accept.before_commit", "before a submission is written", True),
    ("accept.after_commit", "after a submission was written, before its answer", True),
    ("lease.committed", "after a lease was written, before it is sent", True),
    ("assign.received", "of an executor, when it is given a task", False),
    ("journalled", "of an executor, between the journal and the run", False),
    ("run.ended", "of an executor, before a result is spooled", False),
    ("spooled", "of an executor, after a result was spooled", False),
    ("recorded", "of an executor, before it forgets a recorded result", False),
):
    row(f"at-{_point}", f"death {_what}", PAUSE_S, kills=_kills)(_at(_point))
