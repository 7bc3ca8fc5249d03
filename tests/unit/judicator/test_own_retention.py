"""A task that wants to be kept for longer than its cluster keeps any is refused at submission."""

from __future__ import annotations

import pytest

from khala.model.errors import Rejected
from khala.model.retention import Retention
from khala.model.spec import Part
from khala.protocol.rpc import SubmitTask
from khala.store.memory import run_now
from tests.sim.workload import LIMITS
from tests.unit.core.desk import Desk
from tests.unit.judicator.submissions import submissions_to


def asking(retention_s: int | None) -> SubmitTask:
    return SubmitTask(
        user=1,
        compile_timeout_s=0,
        execute_timeout_s=1,
        compile_limits=LIMITS,
        execute_limits=LIMITS,
        parts={Part.EXECUTE_COMMAND: b"true"},
        retention_s=retention_s,
    )


def test_it_can_only_shorten_what_the_cluster_keeps() -> None:
    keep = Retention(age_s=3600.0, count=1000)
    submissions = submissions_to(Desk(), keep)
    for retention_s in (None, 60, 3600):
        spec = run_now(submissions.prepare(asking(retention_s)))
        assert spec.retention_s == retention_s
    with pytest.raises(Rejected, match=r"3660 s.*3600 s.*--retention-age") as refused:
        run_now(submissions.prepare(asking(3660)))
    assert refused.value.field == "/retention"


def test_a_cluster_without_a_rule_by_age_refuses_nothing() -> None:
    submissions = submissions_to(Desk(), Retention(count=1000))
    assert run_now(submissions.prepare(asking(10**8))).retention_s == 10**8
