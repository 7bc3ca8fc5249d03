"""Why a task waits, in a code for programs and a sentence for people."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from khala.model.executor import Cordon, ImageInfo, SessionState
from khala.model.holds import RELEASE, Hold, HoldKey
from khala.model.ids import AttemptNo, mint_task_id
from khala.model.quota import QUOTA
from khala.model.spec import Network
from khala.model.task import Dispatch, Task
from khala.model.wants import Amounts, Labels, Wants
from khala.protocol.v2 import PendingCode
from roles.gateway.blocking import find_blocking, would_run_if
from roles.gateway.cluster import ExecutorSeen, Seen
from roles.gateway.pending import tag_of_task, tag_with, why_pending
from roles.gateway.v2_images import view_images
from tests.unit.core.desk import SPEC
from tests.unit.gateway.double import START, cluster_view

WANTS = Wants(amounts={"cpus": 2000}, require={"arch": "x86_64"})
RECORD = cluster_view("127.0.0.1:1", serving=True).executors[0].record


def a_task(image: str = "") -> Task:
    return Task(
        id=mint_task_id(),
        spec=replace(SPEC, image=image),
        dispatch=Dispatch.QUEUED,
        attempt=AttemptNo(0),
        crashes=0,
        submitted_at=START,
        updated_at=START,
    )


def test_it_says_what_no_executor_has() -> None:
    task = replace(a_task(), spec=replace(SPEC, wants=WANTS))
    small = roomy("E", {"cpus": 1000}, {"arch": "x86_64"})
    other = roomy("F", {"cpus": 9000}, {"arch": "arm64"})
    pending = why_pending(task, seen(small, other))
    assert pending.code is PendingCode.NO_FIT
    assert pending.detail == (
        "no online executor can run it, however long it waits: of 2,"
        " 1 has not the label arch=x86_64, 1 has not cpus 2"
    )


def test_it_says_how_much_is_free() -> None:
    task = replace(a_task(), spec=replace(SPEC, wants=WANTS))
    able = roomy("E", {"cpus": 4000}, {"arch": "x86_64"}, left={"cpus": 500})
    pending = why_pending(task, seen(able))
    assert pending.code is PendingCode.NO_ROOM
    assert pending.detail == (
        "waiting for cpus: it needs cpus 2, the most that is free at one executor is cpus 0.5"
    )
    assert why_pending(task, seen(replace(able, free=0))).code is PendingCode.NO_SLOT
    assert why_pending(task, seen(replace(able, left={"cpus": 2000}))).code is PendingCode.SOON


def test_a_cordoned_executor_is_none_that_could_run_it() -> None:
    """Dispatch does not give it the task, however free it is."""
    cordon = Cordon(reason="kernel upgrade", since=START)
    closed = roomy("E", {}, {})
    closed = replace(closed, record=replace(closed.record, cordon=cordon))
    pending = why_pending(a_task(), seen(closed))
    assert pending.code is PendingCode.NO_FIT
    assert 'cordoned: "kernel upgrade"' in pending.detail
    assert would_run_if(a_task().spec, [closed]) == ["E is uncordoned"]


def test_it_says_what_would_let_it_run() -> None:
    """Only of executors that lack one thing."""
    spec = replace(SPEC, wants=WANTS)
    small = roomy("small", {"cpus": 1000}, {"arch": "x86_64"})
    both = roomy("both", {"cpus": 1000}, {"arch": "arm64"})
    other = roomy("other", {"cpus": 9000}, {"arch": "arm64"})
    full = replace(roomy("full", {"cpus": 9000}, {"arch": "x86_64"}), free=0)
    away = roomy("away", {"cpus": 9000}, {"arch": "x86_64"})
    away = replace(away, record=replace(away.record, state=SessionState.LOST))
    assert would_run_if(spec, [small, both, other, full, away]) == [
        "a slot of full becomes free",
        "away is online again",
        "small has cpus 2, or less is asked for",
        "labels of other and placement agree: the label arch=x86_64",
    ]


def roomy(
    name: str, capacity: Amounts, labels: Labels, *, left: Amounts | None = None
) -> ExecutorSeen:
    plain = executor(name, free=1)
    record = replace(plain.record, capacity=capacity, labels=labels)
    return replace(plain, record=record, left=capacity if left is None else left)


def test_what_is_held_says_what_for() -> None:
    hold = Hold(until=START, keys=(HoldKey("after:65f0"),))
    task = replace(a_task(), dispatch=Dispatch.HELD, hold=hold)
    pending = why_pending(task, seen(executor("E", free=4)))
    assert pending.code is PendingCode.HELD
    assert pending.detail == f"waiting until {START:%Y-%m-%dT%H:%M:%SZ} and for after:65f0"


def executor(name: str, *images: str, free: int = 0, lost: bool = False) -> ExecutorSeen:
    record = replace(
        RECORD,
        name=name,
        slots=4,
        state=SessionState.LOST if lost else SessionState.ONLINE,
        images=tuple(ImageInfo(name=each, identity=f"of {each}", size_bytes=9) for each in images),
    )
    return ExecutorSeen(record=record, free=free, cache=None)


def test_a_task_that_is_newer_than_the_executors_says_so() -> None:
    task = a_task("a")
    task = replace(task, spec=replace(task.spec, needs=2))
    old, new = executor("E", "a", free=4), executor("F", "a")
    told = why_pending(task, seen(old))
    assert told.code is PendingCode.OLD_EXECUTOR
    assert "a newer executor" in told.detail
    new = replace(new, record=replace(new.record, speaks=2))
    assert why_pending(task, seen(old, new)).code is PendingCode.NO_SLOT


def test_a_network_that_nobody_offers_is_waited_for() -> None:
    task = a_task()
    task = replace(task, spec=replace(task.spec, network=Network.FULL))
    plain, offering = executor("E", free=4), executor("F")
    told = why_pending(task, seen(plain))
    assert (told.code, told.detail) == (
        "no_network",
        "waiting for an executor that offers the network full: none that is online does",
    )
    offering = replace(offering, record=replace(offering.record, networks=tuple(Network)))
    assert why_pending(task, seen(plain, offering)).code is PendingCode.NO_SLOT
    assert [(block.code, block.nodes) for block in find_blocking(task.spec, [plain, offering])] == [
        ("no_network", ["E"]),
        ("no_slot", ["F"]),
    ]
    assert would_run_if(task.spec, [plain]) == ["E is started with --allow-network full"]


def seen(*executors: ExecutorSeen) -> Seen:
    return Seen(executors=list(executors), judicators=[], queued=1, leased=0, notes=[])


@pytest.mark.parametrize(
    ("image", "executors", "code", "detail"),
    [
        ("", [], "no_executor", "waiting for an executor: none is online"),
        ("a", [executor("E", "a", lost=True)], "no_executor", "none is online"),
        (
            "gcc-13",
            [executor("E", "b", "a"), executor("F", "gcc-13", lost=True)],
            "no_image",
            "waiting for image gcc-13: no online executor has it (images online: a, b)",
        ),
        ("a", [executor("E", free=4)], "no_image", "(images online: none)"),
        ("", [executor("E"), executor("F")], "no_slot", "all 8 of the executors are taken"),
        (
            "a",
            [executor("E", free=4), executor("F", "a")],
            "no_slot",
            "waiting for a slot: all 4 of the executors with image a are taken",
        ),
        ("a", [executor("E", "a", free=1)], "soon", "a slot is free"),
    ],
)
def test_why_a_task_waits(
    image: str, executors: list[ExecutorSeen], code: str, detail: str
) -> None:
    told = why_pending(a_task(image), seen(*executors))
    assert told.code == code
    assert detail in told.detail


def test_the_tag_changes_with_the_reason_and_still_names_the_task() -> None:
    first = why_pending(a_task(), seen())
    second = why_pending(a_task(), seen(executor("E")))
    tags = {tag_with("1-queued-9", each) for each in (None, first, second)}
    assert len(tags) == 3
    assert {tag_of_task(tag) for tag in tags} == {"1-queued-9"}
    assert first.code is PendingCode.NO_EXECUTOR


def test_images_are_listed_by_name() -> None:
    other = executor("F", "a", lost=True)
    changed = replace(other.record.images[0], identity="another")
    other = replace(other, record=replace(other.record, images=(changed,)))
    images = view_images(seen(executor("E", "b", "a"), other)).images
    assert [(each.name, each.online, each.uniform) for each in images] == [
        ("a", True, False),
        ("b", True, True),
    ]
    assert [holder.executor for holder in images[0].executors] == ["E", "F"]
    assert view_images(seen()).images == []


def test_it_says_that_a_person_holds_it() -> None:
    task = replace(a_task(), dispatch=Dispatch.HELD, hold=Hold(keys=(RELEASE,)))
    pending = why_pending(task, seen(executor("E")))
    assert pending.code is PendingCode.HELD
    assert pending.detail == f"held until it is released (khala release {task.id})"
    both = replace(task, hold=Hold(until=START, keys=(QUOTA, RELEASE)))
    assert why_pending(both, seen(executor("E"))).detail == (
        f"held until it is released (khala release {task.id}); waiting until 2026-11-24T00:04:08Z"
    )
