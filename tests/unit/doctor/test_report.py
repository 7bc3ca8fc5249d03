"""What is printed, and the exit code that follows."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import msgspec
import pytest

from khala.config.load import load
from khala.config.setting import ALL, E, G, J
from khala.config.settings import Settings
from khala.protocol.doctor import Level, Report
from roles.doctor import app
from roles.doctor.app import Check
from roles.doctor.finding import Finding, good, missing, warning


def _check(name: str, roles: tuple[str, ...], finding: Finding) -> Check:
    look: Callable[[Settings], Finding] = lambda _: finding  # noqa: E731
    return Check(name, roles, look)


def _run(*roles: str, as_json: bool = False) -> int:
    return app.run(load("doctor", {}, {}, None)[0], roles, as_json=as_json)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Settings) -> Finding:
        raise RuntimeError("of a broken host")

    made = (
        _check("one", ALL, good("fine")),
        _check("two", (J, E), warning("slow", "be faster")),
        _check("three", (E,), missing("none", "make one")),
        Check("four", (G,), fail),
    )
    monkeypatch.setattr(app, "CHECKS", made)


@pytest.mark.usefixtures("checks")
@pytest.mark.parametrize(
    ("roles", "code", "last"),
    [
        pytest.param((), 69, "Not able to run here: executor, gateway.", id="all"),
        pytest.param((J,), 0, "Able to run here: judicator; 1 warning.", id="a warning"),
        pytest.param((E, J), 69, "Not able to run here: executor.", id="two roles"),
        pytest.param((G,), 69, "Not able to run here: gateway.", id="a broken check"),
    ],
)
def test_the_exit_code_is_that_of_the_chosen_roles(
    capsys: pytest.CaptureFixture[str], roles: tuple[str, ...], code: int, last: str
) -> None:
    assert _run(*roles) == code
    assert capsys.readouterr().out.splitlines()[-1] == last


@pytest.mark.usefixtures("checks")
def test_each_line_has_its_mark_and_its_repair(capsys: pytest.CaptureFixture[str]) -> None:
    _run(J, E)
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[2:-2]]
    assert lines == [
        ["✔", "one", "fine"],
        ["!", "two", "slow"],
        ["repair:", "be", "faster"],
        ["✘", "three", "none"],
        ["repair:", "make", "one"],
    ]


@pytest.mark.usefixtures("checks")
def test_a_terminal_without_the_marks_gets_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii", write_through=True))
    assert _run() == 69
    marks = [line.split()[0] for line in written.getvalue().decode().splitlines()[2:-2]]
    assert [mark for mark in marks if mark != "repair:"] == ["ok", "!", "X", "X"]


@pytest.mark.usefixtures("checks")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(as_json=True) == 69
    report = msgspec.json.decode(capsys.readouterr().out, type=Report)
    assert not report.able and report.roles == ALL
    found = {line.check: (line.level, line.roles) for line in report.lines}
    assert found == {
        "one": (Level.GOOD, ALL),
        "two": (Level.WARNING, (J, E)),
        "three": (Level.MISSING, (E,)),
        "four": (Level.MISSING, (G,)),
    }


def test_every_check_belongs_to_a_role_and_has_a_name_of_its_own() -> None:
    assert all(check.roles for check in app.CHECKS)
    assert len({check.name for check in app.CHECKS}) == len(app.CHECKS)
