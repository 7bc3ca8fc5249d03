"""A judicator notes what a task needs, and takes none that needs more than it knows itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from khala.model.capabilities import CAPABILITY
from khala.model.errors import Unavailable
from khala.model.spec import Part
from khala.model.task import Task
from khala.protocol.rpc import SubmitTask, Submitted
from tests.sim.workload import LIMITS
from tests.unit.core.desk import Desk
from tests.unit.judicator.submissions import submissions_to

REQUEST = SubmitTask(
    user=1,
    compile_timeout_s=0,
    execute_timeout_s=1,
    compile_limits=LIMITS,
    execute_limits=LIMITS,
    parts={Part.EXECUTE_COMMAND: b"true"},
)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.crash()


def submit(desk: Desk, request: SubmitTask) -> Task:
    answers: list[Submitted] = []
    submissions = submissions_to(desk)

    async def flow() -> None:
        answers.append(await submissions.submit(request))

    desk.spawn(flow())
    desk.settle()
    return desk.task(answers[0].id)


def test_a_task_carries_what_it_needs(desk: Desk) -> None:
    assert submit(desk, REQUEST).spec.needs == 0
    assert submit(desk, replace(REQUEST, environment={"A": "b"})).spec.needs == 1


def test_the_same_request_by_another_version_is_the_same_task(desk: Desk) -> None:
    """Numbers may come to an older field; the key's owner has not asked for anything else."""
    request = replace(REQUEST, environment={"A": "b"}, key="k")
    assert submit(desk, request).id == submit(desk, replace(request, needs=1)).id


def test_a_newer_gateway_is_told_to_wait_for_a_newer_judicator(desk: Desk) -> None:
    with pytest.raises(Unavailable) as refused:
        submit(desk, replace(REQUEST, needs=CAPABILITY + 1))
    assert "older than the gateway" in refused.value.message
