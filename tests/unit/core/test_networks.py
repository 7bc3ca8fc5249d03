"""A task that asks for its executor's network goes where that is offered, and hinders nobody."""

from __future__ import annotations

from khala.model.capabilities import CAPABILITY
from khala.model.ids import TaskId
from khala.model.spec import Network
from khala.protocol.executor import Refused
from tests.unit.core.desk import Desk, finished, run_of
from tests.unit.core.rig import Rig, run_no
from tests.unit.core.test_ahead import given

OFFERED = tuple(Network)


def submit(desk: Desk, network: Network = Network.FULL, image: str = "") -> TaskId:
    return desk.submit(network=network, image=image, needs=CAPABILITY)


def test_it_goes_to_an_executor_that_offers_it(desk: Desk) -> None:
    roomy = desk.attach(1, name="A", slots=9, networks=[Network.NONE, Network.LOOPBACK])
    able = desk.attach(2, name="B", slots=1, networks=OFFERED)
    task = submit(desk)
    assert desk.take_runs(able) == [run_of(task)]
    plain = desk.submit()
    assert desk.take_runs(roomy) == [run_of(plain)]


def test_one_that_said_nothing_offers_none(desk: Desk) -> None:
    """Also where it speaks of everything else."""
    silent = desk.attach(1, slots=9)
    task = submit(desk)
    desk.advance(1)
    assert desk.take_runs(silent) == []
    assert desk.task(task).attempt == 0


def test_an_executor_that_is_older_than_the_field_gets_no_network_in_silence(desk: Desk) -> None:
    old = desk.attach(1, slots=9, networks=OFFERED, speaks=CAPABILITY - 1)
    for network in (Network.NONE, Network.FULL):
        submit(desk, network)
    desk.advance(1)
    assert desk.take_runs(old) == []


def test_what_waits_for_it_holds_up_nothing(desk: Desk) -> None:
    conn = desk.attach(1, slots=1)
    waiting = [submit(desk) for _ in range(5)]
    first, second = desk.submit(), submit(desk, Network.NONE)
    assert given(desk, conn) == [run_of(first)]
    desk.hear(conn, finished(run_of(first)))
    assert given(desk, conn) == [run_of(second)]
    desk.hear(conn, finished(run_of(second)))
    able = desk.attach(2, name="B", slots=9, networks=OFFERED)
    desk.advance(1)
    assert sorted(desk.take_runs(able)) == sorted(map(run_of, waiting))
    desk.take(conn)


def test_an_image_and_a_network_are_wanted_together(desk: Desk) -> None:
    images = desk.attach(1, name="A", slots=1, images=["gcc-13"])
    networks = desk.attach(2, name="B", slots=1, networks=OFFERED)
    both = desk.attach(3, name="C", slots=1, images=["gcc-13"], networks=OFFERED)
    task = submit(desk, image="gcc-13")
    assert desk.take_runs(both) == [run_of(task)]
    assert desk.take_runs(images) == desk.take_runs(networks) == []


def test_an_executor_refuses_what_its_operator_did_not_allow(rig: Rig) -> None:
    """Whoever gave it the task was wrong."""
    rig.online()
    rig.assign(run_no(1), network=Network.FULL)
    [refused] = rig.take()
    assert isinstance(refused, Refused)
    assert (refused.run, refused.why) == (run_no(1), "it does not offer the network 'full'")
    rig.assign(run_no(2), network=Network.NONE)
    assert rig.take_orders() == [("start", run_no(2))]
