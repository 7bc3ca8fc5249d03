"""How many slots are suggested, and for what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from khala.model.executor import Cordon
from khala.model.ids import AttemptNo, mint_task_id
from khala.model.statements import Candidate
from khala.protocol.queue import QueueLine, QueueLines
from khala.protocol.statistics import Bucket, StatisticsView, Times
from roles.gateway.cluster import Seen
from roles.gateway.v2_autoscale import lately, run_s_of, slots_for, suggest
from tests.unit.core.desk import SPEC
from tests.unit.gateway.test_explain import SPEC_WANTING
from tests.unit.gateway.test_pending import executor, roomy

NOW = datetime(2026, 11, 28, 13, 47, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("queued", "run_s", "slots"),
    [(0, 30.0, 0), (0, None, 0), (9, None, 9), (9, 0.001, 1), (100, 30.0, 50), (3, 3600.0, 3)],
)
def test_a_slot_works_off_as_many_as_there_is_time_for(
    queued: int, run_s: float | None, slots: int
) -> None:
    assert slots_for(queued, run_s, within_s=60) == slots


def line(queued: int, **of_spec: object) -> QueueLine:
    spec = replace(SPEC_WANTING if of_spec.pop("wanting", False) else SPEC, **of_spec)
    first = Candidate(
        id=mint_task_id(), attempt=AttemptNo(0), crashes=0, spec=spec, submitted_at=NOW
    )
    return QueueLine(first=first, queued=queued)


def test_each_kind_of_task_says_who_could_run_it() -> None:
    arm = roomy("arm", {"cpus": 4000}, {"arch": "arm64"})
    cordoned = executor("resting")
    cordon = Cordon(reason="", since=NOW)
    cordoned = replace(cordoned, record=replace(cordoned.record, cordon=cordon))
    fleet = [arm, executor("plain"), executor("gone", lost=True), cordoned]
    seen = Seen(executors=fleet, judicators=[], queued=0, leased=3, notes=[])
    lines = QueueLines(lines=[line(100), line(2, wanting=True)], more=False)
    found = suggest(lines, seen, 30.0, 60)
    plain, wanting = found.lines
    assert (plain.desired_slots, plain.executors) == (50, 2)
    assert (wanting.desired_slots, wanting.executors, wanting.slots) == (1, 0, 0)
    assert wanting.needs == {"cpus": 2.0}
    assert wanting.placement.require == {"arch": "x86_64"}
    assert (found.desired_slots, found.running, found.queued) == (54, 3, 102)
    assert found.slots == arm.record.slots + fleet[1].record.slots
    assert found.why == (
        "54 slots: 3 tasks run and 102 wait, of 30 s each: so many work them off within 60 s"
    )


def test_nothing_wants_no_slots() -> None:
    seen = Seen(executors=[], judicators=[], queued=0, leased=0, notes=[])
    found = suggest(QueueLines(lines=[], more=False), seen, None, 60)
    assert (found.desired_slots, found.slots, found.why) == (0, 0, "0 slots: 0 tasks run")


def test_the_length_of_a_task_is_that_of_this_hour_and_the_one_before() -> None:
    asked = lately(NOW)
    assert asked.start == datetime(2026, 11, 28, 12, tzinfo=UTC)
    assert asked.end - asked.start == timedelta(hours=2)
    hours = [
        Bucket(at=asked.start, ended={"succeeded": 3}, run_s=Times(mean=1.0)),
        Bucket(at=asked.start, ended={"failed": 1}, run_s=Times(mean=9.0)),
        Bucket(at=asked.start, ended={"cancelled": 5}),
    ]
    assert run_s_of(StatisticsView(buckets=hours, complete_to=NOW)) == 3.0
    assert run_s_of(StatisticsView(buckets=hours[2:], complete_to=NOW)) is None
