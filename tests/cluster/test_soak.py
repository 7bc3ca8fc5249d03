"""A small soak on every run; `build/test soak` runs thousands of tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import soak


@pytest.mark.timeout(600)
def test_mixed_tasks_while_the_executor_is_killed(tmp_path: Path) -> None:
    report = soak(tmp_path / "data", 200, seed=7)
    assert report.faults == [], report.text()
    assert report.kills > 0 and report.ended.total() == 200, report.text()
