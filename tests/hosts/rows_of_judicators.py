"""What may happen to judicators, their databases and gateways: two of three go on."""

from __future__ import annotations

import signal
from contextlib import ExitStack

from tests.hosts.cluster import Cluster
from tests.hosts.rows import (
    ELECTION_S,
    ETCD_CLIENT,
    ETCD_PEER,
    MONGODB,
    NOTICED_S,
    PAUSE_S,
    RPC,
    Scene,
    Table,
    die_at,
    frozen,
    healed,
    wait,
    wait_ended,
)
from tests.hosts.service import Service
from tests.hosts.slow import slow_way
from tests.hosts.traffic import LONG

TABLE = Table(Cluster.wait_judicators)
SERVE = "judicator-serve"


def _cut(scene: Scene, victim: Service, *ports: int, answer: bool = False) -> None:
    with healed(victim):
        for port in ports:
            victim.host.cut(port, answer=answer)
        scene.pause(10)


def _another_leads(scene: Scene, than: Service) -> None:
    def found() -> bool:
        leader = scene.cluster.quorum.leader()
        return leader is not None and leader is not than

    wait(found, f"another than {than.name} leads")


@TABLE.row("F4", "a serving process is killed", PAUSE_S)
def serving_killed(scene: Scene) -> None:
    for _ in range(2):
        scene.judicator().host.kill9(SERVE)
        scene.pause(4)


@TABLE.row("F4-again", "one serving process is killed five times", PAUSE_S)
def serving_killed_again(scene: Scene) -> None:
    victim = scene.judicator()
    for _ in range(5):
        wait(lambda: victim.host.pids_of(SERVE), f"{victim.name} is started again")
        scene.pause(2)
        victim.host.signal(signal.SIGKILL, SERVE)


@TABLE.row("F5", "the host of the judicator with the primary loses its power and boots", ELECTION_S)
def judicator_host_lost(scene: Scene) -> None:
    victim = scene.cluster.quorum.primary()
    scene.traffic.submit(LONG)
    victim.reboot(scene.chance.uniform(8, 12))


@TABLE.row("F6", "all executors are cut off from one judicator, silently", PAUSE_S)
def executors_cut_off(scene: Scene) -> None:
    victim = scene.judicator()
    with healed(victim):
        for executor in scene.cluster.executors:
            victim.host.ignore(executor.host, RPC)
        scene.pause(8)
        wait_ended(scene, scene.traffic.submit(LONG))


@TABLE.row("F7", "executors and gateways are cut off from every judicator")
def cut_from_judicators(scene: Scene) -> None:
    scene.traffic.submit(LONG)
    with healed(*scene.cluster.judicators):
        for judicator in scene.cluster.judicators:
            judicator.host.cut(RPC)
        scene.pause(12)


@TABLE.row("F8", "a judicator is cut off from MongoDB, silently", ELECTION_S)
def cut_from_mongodb(scene: Scene) -> None:
    _cut(scene, scene.judicator(), MONGODB)


@TABLE.row(
    "F8-reset", "the judicator with the primary is cut off from MongoDB, with an answer", ELECTION_S
)
def refused_by_mongodb(scene: Scene) -> None:
    _cut(scene, scene.cluster.quorum.primary(), MONGODB, answer=True)


@TABLE.row("F9", "the leader is cut off from etcd", PAUSE_S)
def cut_from_etcd(scene: Scene) -> None:
    victim = scene.cluster.quorum.leader()
    assert victim is not None
    with healed(victim):
        for port in (ETCD_PEER, ETCD_CLIENT):
            victim.host.cut(port)
        _another_leads(scene, victim)


@TABLE.row("F10", "the primary of MongoDB is killed", ELECTION_S)
def mongod_killed(scene: Scene) -> None:
    scene.cluster.quorum.primary().host.kill9("mongod")
    scene.pause(8)


@TABLE.row("F10-still", "the primary of MongoDB stands still", ELECTION_S)
def mongod_stands_still(scene: Scene) -> None:
    with frozen("mongod", scene.cluster.quorum.primary()):
        scene.pause(15)


@TABLE.row("F11", "one member of etcd stands still", PAUSE_S)
def etcd_stands_still(scene: Scene) -> None:
    with frozen("etcd", scene.judicator()):
        scene.pause(8)


@TABLE.row("F12", "the majority of etcd is lost", PAUSE_S)
def etcd_lost(scene: Scene) -> None:
    victims = scene.chance.sample(scene.cluster.judicators, 2)
    victims[0].host.kill9("etcd")
    scene.pause(2)
    with frozen("etcd", *victims):
        scene.pause(10)


@TABLE.row("F13", "the majority of MongoDB stands still")
def mongodb_lost(scene: Scene) -> None:
    scene.traffic.submit(LONG)
    with frozen("mongod", *scene.chance.sample(scene.cluster.judicators, 2)):
        scene.pause(12)


@TABLE.row("F14", "the disk of one judicator's MongoDB and etcd is full", ELECTION_S)
def judicator_disk_full(scene: Scene) -> None:
    victim = scene.judicator()
    victim.fill_disk()
    try:
        scene.pause(10)
    finally:
        victim.free_disk()


@TABLE.row("F16", "etcd has no space left", PAUSE_S)
def etcd_without_space(scene: Scene) -> None:
    victim = scene.judicator()
    scene.cluster.quorum.raise_no_space(victim)
    wait(lambda: not scene.cluster.quorum.etcd_alarms(victim), "the alarm is lifted")


@TABLE.row(
    "F17-judicator", "the date of a judicator is an hour early, then an hour late", ELECTION_S
)
def judicator_clock(scene: Scene) -> None:
    victim = scene.judicator()
    try:
        for offset in ("-3600", "+3600"):
            victim.set_clock(offset)
            victim.restart()
            scene.pause(3)
            scene.cluster.wait_judicators()
    finally:
        victim.set_clock(None)
        victim.restart()


@TABLE.row("F18-judicator", "a judicator is 200 ms away from the others' databases", NOTICED_S)
def slow_judicator(scene: Scene) -> None:
    victim = scene.judicator()
    with ExitStack() as ways:
        ways.enter_context(healed(victim))
        for other in scene.cluster.judicators:
            if other is not victim:
                for port in (ETCD_PEER, MONGODB):
                    way = ways.enter_context(slow_way(other.host.address, port, 0.2))
                    victim.host.detour(port, way, other.host.address)
        victim.host.kill9("mongod")
        scene.pause(15)


@TABLE.row("F19", "a gateway is killed", PAUSE_S)
def gateway_killed(scene: Scene) -> None:
    for _ in range(2):
        scene.chance.choice(scene.cluster.gateways).kill9()
        scene.pause(4)


@TABLE.row("F20", "every message between executors and judicators arrives twice", PAUSE_S)
def everything_twice(scene: Scene) -> None:
    with scene.cluster.armed_for("twice"):
        for _ in range(4):
            scene.traffic.submit(LONG)
        scene.executor().kill9()
        scene.pause(8)


@TABLE.row("F23", "a serving process stands still", ELECTION_S)
def serving_stands_still(scene: Scene) -> None:
    victim = scene.judicator()
    [still] = victim.host.pids_of(SERVE)
    with frozen(SERVE, victim):
        wait(lambda: still not in victim.host.pids_of(SERVE), "its supervisor kills it")


@TABLE.row("F25", "the leader stands still until another leads, and goes on", PAUSE_S)
def two_leaders(scene: Scene) -> None:
    victim = scene.cluster.quorum.leader()
    assert victim is not None
    scene.traffic.submit(LONG)
    # Its supervisor as well, which would kill it otherwise.
    with frozen("judicator", victim), frozen(SERVE, victim):
        _another_leads(scene, victim)
        scene.pause(3)


@TABLE.row("at-election.won", "death of a new leader, before it has its term", PAUSE_S)
def dies_elected(scene: Scene) -> None:
    victim = scene.cluster.quorum.leader()
    assert victim is not None
    with scene.cluster.armed_for("election.won") as armed:
        victim.host.kill9(SERVE)
        wait(lambda: not armed(), "the next leader died")
    wait(scene.cluster.quorum.leader, "somebody leads")


for _point, _what in (
    ("accept.before_commit", "before a submission is written"),
    ("accept.after_commit", "after a submission was written, before its answer"),
    ("lease.committed", "after a lease was written, before it is sent"),
    ("finish.committed", "after a result was written, before it is confirmed"),
):
    TABLE.row(f"at-{_point}", f"death of a judicator, {_what}", PAUSE_S)(
        die_at(_point, "a judicator")
    )
