"""Tasks that need more of an executor than a slot: amounts and labels."""

from __future__ import annotations

import dataclasses

from khala.model.ids import TaskId
from khala.model.limits import KEEP_AFTER_S, OWN_SCAN_ITEMS, SHAPES, SHAPES_INTERVAL_S
from khala.model.wants import Wants
from khala.protocol.executor import Refused
from tests.unit.core.desk import Desk, finished, heartbeat, run_of
from tests.unit.core.rig import Rig, run_no
from tests.unit.core.test_ahead import given

GIB = 1 << 30
HOST = {"cpus": 4000, "memory": 8 * GIB}
ALL_CPUS = Wants(amounts={"cpus": 4000})


def cpus(count: float) -> Wants:
    return Wants(amounts={"cpus": int(count * 1000)})


def test_slots_and_amounts_are_both_bounds(desk: Desk) -> None:
    conn = desk.attach(1, slots=3, capacity=HOST)
    first, second = desk.submit(wants=cpus(2.5)), desk.submit(wants=cpus(1.5))
    third, plain = desk.submit(wants=cpus(0.5)), desk.submit()
    assert desk.take_runs(conn) == [run_of(first), run_of(second), run_of(plain)]
    desk.hear(conn, finished(run_of(second)))
    assert given(desk, conn) == [run_of(third)]


def test_what_finds_no_room_holds_up_nothing(desk: Desk) -> None:
    conn = desk.attach(1, slots=2, capacity=HOST)
    desk.submit(wants=cpus(3))
    large, small, plain = desk.submit(wants=cpus(2)), desk.submit(wants=cpus(1)), desk.submit()
    assert desk.task(large).attempt == desk.task(plain).attempt == 0
    assert [run[0] for run in desk.take_runs(conn)][1:] == [small]


def test_an_executor_that_says_nothing_has_nothing_to_give(desk: Desk) -> None:
    desk.attach(1, slots=2)
    task = desk.submit(wants=cpus(0.1))
    desk.advance(3)
    assert desk.task(task).attempt == 0
    able = desk.attach(2, name="B", slots=1, capacity={"cpus": 100})
    desk.advance(1)
    assert desk.take_runs(able) == [run_of(task)]


def test_labels_are_required_avoided_and_preferred(desk: Desk) -> None:
    north = desk.attach(1, name="A", slots=9, labels={"zone": "north"})
    south = desk.attach(2, name="B", slots=5, labels={"zone": "south"})
    spot = desk.attach(3, name="C", slots=99, labels={"zone": "south", "spot": "true"})
    to_south = desk.submit(wants=Wants(require={"zone": "south"}, avoid={"spot": "true"}))
    assert desk.take_runs(south) == [run_of(to_south)]
    not_spot = desk.submit(wants=Wants(avoid={"spot": "true"}))
    assert desk.take_runs(north) == [run_of(not_spot)]
    rather_south = [desk.submit(wants=Wants(prefer={"zone": "north"})) for _ in range(10)]
    assert desk.take_runs(north) == [run_of(task) for task in rather_south[:8]]
    assert desk.take_runs(spot) == [run_of(task) for task in rather_south[8:]]


def test_what_is_running_unknown_may_take_up_everything(desk: Desk) -> None:
    """Another judicator leased it, and this one has yet to read what it needs."""
    conn = desk.attach(1, slots=4, capacity=HOST)
    first = desk.submit(wants=cpus(3))
    assert desk.take_runs(conn) == [run_of(first)]
    desk.hang_up(conn)
    desk.dispatcher.leasing.sessions.detach(desk.dispatcher.sessions.get("E"))  # type: ignore[arg-type]
    conn = desk.attach(2, slots=4, capacity=HOST, running=[run_of(first)])
    second, third = desk.submit(wants=cpus(2)), desk.submit(wants=cpus(1))
    assert desk.take_runs(conn) == []
    desk.hear(conn, heartbeat(session=2, running=[run_of(first)]))
    desk.settle()
    assert desk.take_runs(conn) == [run_of(third)]
    assert desk.task(second).attempt == 0


def test_shapes_that_others_accepted_are_found(desk: Desk) -> None:
    conn = desk.attach(1, slots=9, capacity=HOST, images=["gcc-13"])
    for _ in range(2 * OWN_SCAN_ITEMS):
        desk.submit_elsewhere(wants=Wants(amounts={"gpu": 1}))
    tasks = [
        desk.submit_elsewhere(wants=cpus(1), image="gcc-13"),
        desk.submit_elsewhere(wants=cpus(2)),
    ]
    desk.advance(2 * SHAPES_INTERVAL_S)
    assert {run[0] for run in desk.take_runs(conn)} == set(tasks)


def test_more_shapes_than_are_remembered_take_turns(desk: Desk) -> None:
    tasks = {desk.submit_elsewhere(wants=cpus(n / 1000)) for n in range(1, 2 * SHAPES + 10)}
    conn = desk.attach(1, slots=1, capacity=HOST)
    order: set[TaskId] = set()
    for _ in range(8 * SHAPES):
        for run in given(desk, conn):
            order.add(run[0])
            desk.hear(conn, finished(run))
        desk.advance(0.5)
        if order == tasks:
            break
    assert order == tasks
    desk.take(conn)


def test_a_large_task_is_not_passed_over_for_ever(desk: Desk) -> None:
    """Small ones keep coming, and each takes what the one before it leaves."""
    conn = desk.attach(1, slots=4, capacity=HOST)
    running = [run_of(desk.submit(wants=cpus(1))) for _ in range(4)]
    desk.take(conn)
    large = desk.submit(wants=ALL_CPUS)
    for _ in range(int(KEEP_AFTER_S) + 10):
        desk.submit(wants=cpus(1))
        desk.beat_for(1, conn, heartbeat(running=running))
        if running:
            desk.hear(conn, finished(running.pop(0)))
        running += given(desk, conn)
        if run_of(large) in running:
            break
    assert running == [run_of(large)]
    desk.hear(conn, finished(run_of(large)))
    desk.tick()
    assert len(given(desk, conn)) == 4


def test_what_is_kept_is_given_back_when_nobody_wants_it(desk: Desk) -> None:
    conn = desk.attach(1, slots=2, capacity=HOST)
    running = run_of(desk.submit(wants=cpus(1)))
    large = desk.submit(wants=ALL_CPUS)
    desk.beat_for(KEEP_AFTER_S + 2, conn, heartbeat(running=[running]))
    assert desk.dispatcher.free == 0
    plain = desk.submit()
    assert desk.task(plain).attempt == 0
    desk.cancel(large)
    desk.advance(1)
    assert desk.task(plain).attempt == 1
    desk.take(conn)


def test_an_executor_refuses_more_than_it_has(rig: Rig) -> None:
    rig.online()
    rig.agent.identity = dataclasses.replace(rig.agent.identity, capacity={"cpus": 2000})
    rig.assign(run_no(1), wants=cpus(1.5))
    assert rig.take_orders() == [("start", run_no(1))]
    rig.assign(run_no(2), wants=cpus(1))
    [refused] = rig.take()
    assert isinstance(refused, Refused)
    assert (refused.run, refused.why) == (run_no(2), "it has not enough cpus left")
