"""What may happen to an executor: everything is tried on one, and noticed by nobody who submits."""

from __future__ import annotations

from tests.cluster.faults.cluster import Cluster
from tests.cluster.faults.rows import (
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
from tests.cluster.faults.traffic import Work

TABLE = Table(Cluster.wait_executors)


@TABLE.row("F1", "an executor is killed and comes back", PAUSE_S)
def executor_killed(scene: Scene) -> None:
    for _ in range(2):
        victim, _ = at_work(scene)
        kill_until_back(victim)
        scene.pause(1)


@TABLE.row("F1-gone", "an executor is killed and stays away until its tasks are others'", PAUSE_S)
def executor_gone(scene: Scene) -> None:
    victim, tasks = at_work(scene)
    victim.stay_down()
    for task in tasks:
        wait_ended(scene, task)
    victim.come_back()


@TABLE.row("F2", "an executor stands still until its tasks are others', and goes on", PAUSE_S)
def executor_stands_still(scene: Scene) -> None:
    victim, tasks = at_work(scene)
    with frozen(victim.word, victim):
        for task in tasks:
            wait_ended(scene, task)


@TABLE.row("F3", "an operator restarts an executor", PAUSE_S)
def executor_restarted(scene: Scene) -> None:
    victim, _ = at_work(scene)
    restart(victim)


@TABLE.row("F6-alone", "an executor is cut off from every judicator, silently", PAUSE_S)
def executor_cut_off(scene: Scene) -> None:
    victim, _ = at_work(scene)
    with healed(victim):
        victim.host.cut(RPC)
        scene.pause(10)


@TABLE.row(
    "F6-unplugged", "an executor's network is unplugged, until its tasks are others'", PAUSE_S
)
def executor_unplugged(scene: Scene) -> None:
    victim, tasks = at_work(scene)
    victim.host.unplug()
    try:
        for task in tasks:
            wait_ended(scene, task)
    finally:
        victim.host.plug_in()


@TABLE.row("F15", "an executor's disk is full", PAUSE_S)
def executor_disk_full(scene: Scene) -> None:
    victim = scene.executor()
    victim.fill_disk()
    try:
        scene.pause(8)
    finally:
        victim.free_disk()


@TABLE.row("F17", "the date of an executor is an hour early, then an hour late", PAUSE_S)
def executor_clock(scene: Scene) -> None:
    victim = scene.executor()
    try:
        for offset in ("+3600", "-3600"):
            victim.set_clock(offset)
            restart(victim)
            scene.cluster.wait_executors()
            wait_ended(scene, scene.traffic.submit(Work("sleep 1", 1)))
    finally:
        victim.set_clock(None)
        restart(victim)


@TABLE.row("F18", "an executor is 200 ms away, and one packet of twenty is lost", PAUSE_S)
def slow_executor(scene: Scene) -> None:
    victim = scene.executor()
    with slow_way(scene.judicator().host.address, RPC, 0.2) as port, healed(victim):
        victim.host.detour(RPC, port)
        victim.host.lose(0.05)
        restart(victim)
        scene.pause(10)


@TABLE.row("F21", "tasks take all they can: memory, processes, output, disk", PAUSE_S)
def greedy_tasks(scene: Scene) -> None:
    greedy = [
        Work("x=$(tr '\\0' x </dev/zero)", 1, wall_s=5),
        Work(":(){ :|:& }; :; while :; do :; done", 1, wall_s=2),
        Work("yes", 1, wall_s=5),
        Work("cat /dev/zero >/tmp/f", 1, wall_s=5),
    ]
    scene.chance.shuffle(greedy)
    tasks = [(work, scene.traffic.submit(work)) for work in greedy]
    for work, task in tasks:
        assert task is not None
        wait_ended(scene, task)
        seen = scene.traffic.read(task, scene.cluster.gateways[1])
        assert seen is not None and seen.state == "failed", (work, seen)


@TABLE.row("F22", "an executor's host loses its power and boots", PAUSE_S)
def executor_host_lost(scene: Scene) -> None:
    victim, _ = at_work(scene)
    victim.reboot(scene.chance.uniform(3, 5))


def _next_run(scene: Scene, task: str, after: int) -> tuple[int, Service] | None:
    """The next attempt that begins, and where; None if the task ends before.

    Not every attempt begins: an executor may lose its judicator before it is told.
    """
    cluster = scene.cluster

    def look() -> tuple[tuple[int, Service] | None] | None:
        runs = [
            (attempt, executor)
            for executor in cluster.executors
            for attempt in cluster.witnesses[executor.name].attempts(task)
        ]
        latest = max(runs, key=lambda run: run[0], default=None)
        if latest is not None and latest[0] > after:
            return (latest,)
        seen = scene.traffic.read(task, cluster.gateways[0])
        return (None,) if seen is not None and seen.ended else None

    found: tuple[tuple[int, Service] | None] = wait(look, f"{task} begins after attempt {after}")
    return found[0]


@TABLE.row("F24", "a task kills every executor that it runs on", PAUSE_S)
def poison(scene: Scene) -> None:
    cluster = scene.cluster
    task = scene.traffic.submit(Work("sleep 25", 1))
    assert task is not None
    attempt = 0
    while run := _next_run(scene, task, attempt):
        attempt, victim = run
        kill_until_back(victim)
    seen = scene.traffic.read(task, cluster.gateways[1])
    assert seen is not None and seen.reason == "executor_lost_repeatedly", seen


for _point, _what in (
    ("assign.received", "when it is given a task"),
    ("journalled", "between the journal and the run"),
    ("run.ended", "before a result is spooled"),
    ("spooled", "after a result was spooled"),
    ("recorded", "before it forgets a recorded result"),
):
    TABLE.row(f"at-{_point}", f"death of an executor, {_what}", PAUSE_S)(
        die_at(_point, "an executor")
    )
