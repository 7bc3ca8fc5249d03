"""A pytest plugin for inside the machine: says each test's end as it comes, on a shared folder.

The host's test of the same name waits for that line, so the ring's progress and its count are
those of the guest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

#: Relative to the shared folder; made by the host, which may be another user.
REPORT = "report.jsonl"
_SHARE = Path("/run/share")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How one test ended in the guest."""

    test: str
    outcome: str
    text: str


class _Reporter:
    def __init__(self) -> None:
        self._phases: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._phases.append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        result = _sum_up(nodeid, self._phases)
        self._phases = []
        with (_SHARE / REPORT).open("ab") as file:
            file.write(msgspec.json.encode(result) + b"\n")


def _sum_up(nodeid: str, phases: list[pytest.TestReport]) -> Result:
    for phase in phases:
        if phase.failed:
            return Result(test=nodeid, outcome="failed", text=f"{phase.when}: {phase.longreprtext}")
        if phase.skipped:
            reason = phase.longrepr[2] if isinstance(phase.longrepr, tuple) else phase.longreprtext
            return Result(test=nodeid, outcome="skipped", text=str(reason))
    return Result(test=nodeid, outcome="passed", text="")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Reporter())


def read_results(file: Path) -> Iterator[Result]:
    """Every whole line so far."""
    for line in file.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield msgspec.json.decode(line, type=Result)
