"""What keeps executors from a task, by executor."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from msgspec.structs import replace

from khala.model.errors import Unavailable
from khala.model.holds import RELEASE, Hold
from khala.model.ids import JobId
from khala.model.retention import Retention
from khala.model.spec import Member
from khala.model.task import Dispatch, Task
from khala.protocol.v2 import Blocking
from roles.gateway.blocking import find_blocking
from roles.gateway.cluster import Cluster, Seen
from roles.gateway.v2_explain import explain_now
from tests.unit.core.desk import DONE, SPEC
from tests.unit.gateway.test_pending import WANTS, a_task, executor, roomy, seen

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC_WANTING = replace(SPEC, wants=WANTS)


class FakeCluster(Cluster):
    """Knows what it was told."""

    def __init__(self, seen: Seen | None) -> None:
        self._told = self._seen = seen

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


def removal(keep: Retention, retention_s: int | None = None, **fields: object) -> str | None:
    spec = replace(SPEC, retention_s=retention_s)
    task = replace(
        a_task(), spec=spec, dispatch=Dispatch.DONE, outcome=DONE, done_at=AT, submitted_at=AT
    )
    told = FakeCluster(replace(seen(), keep=keep))
    return asyncio.run(explain_now(told, replace(task, **fields))).removal


def test_whoever_says_less_is_named() -> None:
    assert removal(Retention()) is None
    day = 86_400
    own = removal(Retention(age_s=9.0 * day), 7 * day)
    assert own == "It is removed after 2026-03-08 12:00:00 UTC: its own retention."
    ruled = removal(Retention(age_s=5.0 * day), 7 * day)
    assert ruled is not None and ruled.startswith("It is removed after 2026-03-06 12:00:00 UTC")
    assert ruled.endswith("as this cluster keeps what ended within 5 days, 0:00:00.")
    counted = removal(Retention(count=100), 7 * day)
    assert counted is not None and "sooner" in counted and "the newest 100" in counted
    keyed = removal(Retention(), 60, keyed=True)
    assert keyed is not None and "2026-03-01 13:00:00" in keyed and "key" in keyed
    member = replace(SPEC, retention_s=60, member=Member(job=JobId("a" * 24), index=1))
    assert removal(Retention(), spec=member) == "It is removed together with the rest of its job."
