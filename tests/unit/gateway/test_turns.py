"""What is said of when a task starts, and when nothing is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from khala.model.holds import RELEASE, Hold
from khala.model.pace import LinePace
from khala.protocol.rpc import ClusterView
from khala.protocol.v2 import EstimatedStart, Pending, PendingCode
from roles.gateway.cluster import _merge
from roles.gateway.turns import estimate, say
from tests.unit.gateway.test_pending import a_task, seen

TASK = a_task()
#: Two starts a second.
PACE = LinePace(shape=TASK.spec.shape, starts=100, waited_s=50.0)
SEEN = replace(seen(), paces={PACE.shape: PACE})
BUSY = Pending(code=PendingCode.NO_SLOT, detail="all are taken")


def test_it_is_two_numbers_of_two_digits() -> None:
    turn = estimate(TASK, BUSY, 246, SEEN)
    assert turn is not None and turn.p50_s == 120.0
    assert 120.0 < turn.p90_s < 240.0 and turn.p90_s == float(f"{turn.p90_s:.2g}")
    nearly = estimate(TASK, BUSY, 0, SEEN)
    assert nearly is not None and nearly.p50_s == 1.0


@pytest.mark.parametrize(
    "code",
    [
        PendingCode.HELD,
        PendingCode.QUOTA,
        PendingCode.NO_EXECUTOR,
        PendingCode.NO_IMAGE,
        PendingCode.NO_NETWORK,
        PendingCode.OLD_EXECUTOR,
        PendingCode.NO_FIT,
    ],
)
def test_what_does_not_wait_for_its_turn_has_none(code: PendingCode) -> None:
    assert estimate(TASK, replace(BUSY, code=code), 3, SEEN) is None


def test_nothing_is_made_up() -> None:
    assert estimate(TASK, None, 3, SEEN) is None
    assert estimate(TASK, BUSY, None, SEEN) is None
    assert estimate(TASK, BUSY, 3, seen()) is None
    assert estimate(replace(TASK, hold=Hold(keys=(RELEASE,))), BUSY, 3, SEEN) is None
    few = replace(SEEN, paces={PACE.shape: replace(PACE, starts=1)})
    assert estimate(TASK, BUSY, 3, few) is None


def test_it_is_said_in_words() -> None:
    assert say(EstimatedStart(p50_s=140.0, p90_s=9000.0)) == (
        "If its line moves on as lately, it starts in about 2.3 min, nine times out of ten within"
        " 2.5 h."
    )
    assert "about 1 s," in say(EstimatedStart(p50_s=1.0, p90_s=2.0))


def test_judicators_that_serve_the_same_line_are_added_up() -> None:
    view = ClusterView(
        version="1",
        serving=True,
        queued=1,
        leased=1,
        executors=[],
        judicators=[],
        notes=[],
        paces=[PACE],
    )
    merged = _merge({"a:1": view, "b:1": view, "c:1": replace(view, paces=[])})
    assert merged.paces[PACE.shape].per_s == pytest.approx(4.0)
    assert merged.paces[PACE.shape].starts == 200
