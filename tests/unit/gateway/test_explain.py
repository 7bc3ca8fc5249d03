"""What keeps executors from a task, by executor."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from khala.model.errors import Unavailable
from khala.model.holds import RELEASE, Hold
from khala.model.task import Dispatch, Task
from khala.protocol.v2 import Blocking
from roles.gateway.blocking import find_blocking
from roles.gateway.cluster import Cluster, Seen
from roles.gateway.v2_explain import explain_now
from tests.unit.core.desk import DONE, SPEC
from tests.unit.gateway.test_pending import WANTS, a_task, executor, roomy, seen

SPEC_WANTING = replace(SPEC, wants=WANTS)


class FakeCluster(Cluster):
    """Knows what it was told."""

    def __init__(self, seen: Seen | None) -> None:
        self._told = seen

    async def view(self) -> Seen:
        if self._told is None:
            raise Unavailable("no judicator answers")
        return self._told


def summary(task: Task, seen: Seen | None) -> str:
    return asyncio.run(explain_now(FakeCluster(seen), task)).summary


def test_each_reason_names_its_executors() -> None:
    executors = [
        executor("gone", lost=True),
        roomy("arm", {"cpus": 9000}, {"arch": "arm64"}),
        roomy("small", {"cpus": 1000}, {"arch": "x86_64"}),
        roomy("taken", {"cpus": 4000}, {"arch": "x86_64"}, left={"cpus": 500}),
        replace(roomy("busy", {"cpus": 4000}, {"arch": "x86_64"}), free=0),
        roomy("fine", {"cpus": 4000}, {"arch": "x86_64"}),
    ]
    assert find_blocking(SPEC_WANTING, executors) == [
        Blocking(code=code, detail=detail, nodes=[node], count=1)
        for code, detail, node in [
            ("label", "has not the label arch=x86_64", "arm"),
            ("no_room", "needs cpus 2", "taken"),
            ("no_slot", "all slots are taken", "busy"),
            ("offline", "not connected", "gone"),
            ("too_small", "has not cpus 2", "small"),
        ]
    ]


def test_names_are_bounded_and_counted() -> None:
    [block] = find_blocking(SPEC, [executor(f"e{n:02}") for n in range(30)])
    assert (block.code, block.count, block.nodes) == (
        "no_slot",
        30,
        [f"e{n:02}" for n in range(10)],
    )


def test_it_says_where_a_task_stands() -> None:
    task = a_task()
    running = replace(task, dispatch=Dispatch.LEASED, executor="E")
    ended = replace(task, dispatch=Dispatch.DONE, outcome=DONE)
    assert summary(task, seen()) == "waiting for an executor: none is online"
    assert summary(task, None) == "Nobody can say: no judicator answers"
    assert summary(running, None) == "It runs on E, as attempt 0."
    assert summary(ended, None) == "The task ended with: ok."


def test_a_person_who_holds_it_is_in_the_way_of_every_executor() -> None:
    task = replace(a_task(), dispatch=Dispatch.HELD, hold=Hold(keys=(RELEASE,)))
    view = asyncio.run(explain_now(FakeCluster(seen(executor("E"))), task))
    assert view.summary == f"held until it is released (khala release {task.id})"
    assert view.blocking == [Blocking(code="held", detail=view.summary, nodes=[], count=0)]
