"""What may happen to judicators, their databases and gateways: two of three go on."""

from __future__ import annotations

from contextlib import ExitStack

from tests.cluster.faults.cluster import BOUNDED_USER, Cluster
from tests.cluster.faults.quorum import probe
from tests.cluster.faults.rows import (
    ELECTION_S,
    ETCD_CLIENT,
    ETCD_PEER,
    MONGODB,
    NOTICED_S,
    PAUSE_S,
    RPC,
    Scene,
    Table,
    at_work,
    die_at,
    frozen,
    healed,
    kill_until_back,
    restart,
    wait,
    wait_ended,
)
from tests.cluster.faults.service import Service
from tests.cluster.faults.slow import slow_way
from tests.cluster.faults.traffic import LONG

TABLE = Table(Cluster.wait_judicators)
SERVE = "judicator-serve"


def _wait_ready(victim: Service) -> None:
    wait(lambda: probe(victim, "/readyz"), f"{victim.name} serves")


def _cut_from_mongodb(scene: Scene, victim: Service, *, answer: bool) -> None:
    with healed(victim):
        victim.host.cut(MONGODB, answer=answer)
        wait(lambda: not probe(victim, "/readyz"), f"{victim.name} says that it does not serve")
        scene.pause(4)


def _another_leads(scene: Scene, than: Service) -> None:
    def found() -> bool:
        leader = scene.cluster.quorum.leader()
        return leader is not None and leader is not than

    wait(found, f"another than {than.name} leads")


@TABLE.row("F4", "a serving process is killed", PAUSE_S)
def serving_killed(scene: Scene) -> None:
    for _ in range(2):
        victim = scene.judicator()
        kill_until_back(victim, SERVE)
        _wait_ready(victim)


@TABLE.row("F4-again", "one serving process is killed five times", PAUSE_S)
def serving_killed_again(scene: Scene) -> None:
    victim = scene.judicator()
    for _ in range(5):
        _wait_ready(victim)
        # So short a service is one all the same: its wait is as short as the first one's.
        scene.pause(3)
        victim.host.kill9(SERVE)


@TABLE.row("F5", "the host of the judicator with the primary loses its power and boots", ELECTION_S)
def judicator_host_lost(scene: Scene) -> None:
    victim = scene.cluster.quorum.primary()
    scene.traffic.submit(LONG)
    victim.reboot(scene.chance.uniform(7, 9))


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
    _cut_from_mongodb(scene, scene.judicator(), answer=False)


@TABLE.row(
    "F8-reset", "the judicator with the primary is cut off from MongoDB, with an answer", ELECTION_S
)
def refused_by_mongodb(scene: Scene) -> None:
    _cut_from_mongodb(scene, scene.cluster.quorum.primary(), answer=True)


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
    scene.pause(1)


@TABLE.row("F10-still", "the primary of MongoDB stands still", ELECTION_S)
def mongod_stands_still(scene: Scene) -> None:
    quorum = scene.cluster.quorum
    victim = quorum.primary()
    with frozen("mongod", victim):
        wait(lambda: quorum.primary() is not victim, "another is the primary")
        scene.pause(2)


@TABLE.row("F11", "one member of etcd stands still", PAUSE_S)
def etcd_stands_still(scene: Scene) -> None:
    with frozen("etcd", scene.judicator()):
        scene.pause(7)


@TABLE.row("F12", "the majority of etcd is lost", PAUSE_S)
def etcd_lost(scene: Scene) -> None:
    victims = scene.chance.sample(scene.cluster.judicators, 2)
    victims[0].host.kill9("etcd")
    scene.pause(2)
    with frozen("etcd", *victims):
        scene.pause(8)


@TABLE.row("F13", "the majority of MongoDB stands still")
def mongodb_lost(scene: Scene) -> None:
    scene.traffic.submit(LONG)
    with frozen("mongod", *scene.chance.sample(scene.cluster.judicators, 2)):
        scene.pause(10)


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
            restart(victim)
            scene.cluster.wait_judicators()
    finally:
        victim.set_clock(None)
        restart(victim)


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
        scene.pause(12)


@TABLE.row("F19", "a gateway is killed", PAUSE_S)
def gateway_killed(scene: Scene) -> None:
    for _ in range(2):
        victim = scene.chance.choice(scene.cluster.gateways)
        kill_until_back(victim)
        scene.cluster.wait_answers(victim)


@TABLE.row("F20", "every message between executors and judicators arrives twice", PAUSE_S)
def everything_twice(scene: Scene) -> None:
    with scene.cluster.armed_for("twice"):
        victim, tasks = at_work(scene)
        kill_until_back(victim)
        for task in tasks:
            wait_ended(scene, task)


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

TABLE.row(
    "at-turn.taken",
    "death of a judicator, after it wrote which tasks of a quota join the queue, before they do",
    PAUSE_S,
)(die_at("turn.taken", "a judicator", BOUNDED_USER))
