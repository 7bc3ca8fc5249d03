"""A role that looks at its own host: what comes of examinations that succeed and that do not."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from khala.config.load import load
from khala.model.errors import Unavailable
from khala.protocol.doctor import Level, Line, Report
from roles import examining

_LINE = Line(check="clock", roles=("executor",), level=Level.WARNING, found="late", repair=None)
REPORT = Report(able=True, roles=("executor",), lines=[_LINE])


@pytest.fixture(autouse=True)
def without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "_FIRST_S", 0.0)
    monkeypatch.setattr(examining, "_INTERVAL_S", 0.0)


async def test_after_an_examination_that_fails_comes_another(tmp_path: Path) -> None:
    """The first ends without a word, the second cannot be kept, the third can."""
    answer, turns = tmp_path / "answer", tmp_path / "turns"
    answer.write_bytes(msgspec.json.encode(REPORT))
    script = f'echo >>{turns}; [ "$(wc -l <{turns})" -eq 1 ] || exec cat {answer}'
    kept: list[Report] = []
    done = asyncio.Event()

    async def keep(report: Report) -> None:
        kept.append(report)
        if len(kept) == 1:
            raise Unavailable("no judicator answers")
        done.set()

    looking = asyncio.ensure_future(examining.keep_examined(("sh", "-c", script), keep))
    async with asyncio.timeout(30):
        await done.wait()
    looking.cancel()
    assert kept[:2] == [REPORT, REPORT]
    assert len(turns.read_text()) >= 3


def test_the_doctor_is_asked_as_the_role_runs() -> None:
    settings, _ = load("executor", {}, {"KHALA_DATA_DIR": "/srv/khala"}, None)
    argv = examining.examiner("executor", settings)
    at = argv.index(sys.executable)
    assert argv[:at] == ("nice", "-n", "19")
    assert argv[at + 1 : at + 4] == ("-m", "khala", "doctor")
    assert argv[argv.index("--data-dir") + 1] == "/srv/khala"
    assert argv[-4:] == ("--role", "executor", "--no-jail", "--json")
