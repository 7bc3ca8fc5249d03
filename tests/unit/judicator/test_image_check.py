"""A task waits for an executor that is away, but not for an image or a network that nobody ever
had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from khala.model.errors import NoNetworkOffered, NoSuchImage
from khala.model.ids import ExecutorName, SessionNo
from khala.model.spec import Network, Part
from khala.protocol.rpc import SubmitTask, Submitted
from khala.store.memory import run_now
from tests.sim.workload import LIMITS
from tests.unit.core.desk import Desk
from tests.unit.judicator.submissions import submissions_to


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.crash()


def submit(desk: Desk, image: str = "", network: Network = Network.LOOPBACK) -> Submitted:
    answers: list[Submitted] = []
    submissions = submissions_to(desk)
    request = SubmitTask(
        user=1,
        compile_timeout_s=0,
        execute_timeout_s=1,
        compile_limits=LIMITS,
        execute_limits=LIMITS,
        parts={Part.EXECUTE_COMMAND: b"true"},
        image=image,
        network=network,
    )

    async def flow() -> None:
        answers.append(await submissions.submit(request))

    desk.spawn(flow())
    desk.settle()
    return answers[0]


def test_an_image_that_nobody_has_is_refused_with_those_there_are(desk: Desk) -> None:
    desk.attach(1, images=["clang-17", "debian-12"])
    with pytest.raises(NoSuchImage) as refused:
        submit(desk, "gcc-13")
    assert refused.value.message == (
        "image: no executor has 'gcc-13'; known are clang-17, debian-12;"
        " start one with --image gcc-13=PATH"
    )
    assert refused.value.field == "image"


def test_an_image_of_an_executor_that_is_lost_is_waited_for(desk: Desk) -> None:
    desk.attach(1, images=["gcc-13"])
    desk.hang_up(desk.attach(2, name="F", images=["gcc-14"]))
    run_now(desk.memory.sessions.expire_session(ExecutorName("F"), SessionNo(1)))
    desk.dispatcher.sessions.detach(desk.dispatcher.sessions.get(ExecutorName("F")))  # type: ignore[arg-type]
    task = submit(desk, "gcc-14")
    assert desk.task(task.id).attempt == 0


def test_no_image_is_always_there(desk: Desk) -> None:
    assert desk.task(submit(desk, "").id).spec.image == ""


def test_a_network_that_nobody_offers_is_refused_with_what_an_operator_can_do(desk: Desk) -> None:
    desk.attach(1, networks=(Network.NONE, Network.LOOPBACK))
    with pytest.raises(NoNetworkOffered) as refused:
        submit(desk, network=Network.FULL)
    assert refused.value.field == "network"
    assert "--allow-network full" in refused.value.message
    assert desk.task(submit(desk, network=Network.NONE).id).spec.network is Network.NONE


def test_a_network_that_somebody_offers_is_given(desk: Desk) -> None:
    desk.attach(1, networks=tuple(Network))
    task = desk.task(submit(desk, network=Network.FULL).id)
    assert (task.spec.network, task.attempt) == (Network.FULL, 1)
