"""Cases and checks of a task document: what is made of them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from khala.model.cases import Case, Check, CheckMode, Span, expected_span, stdin_span
from khala.model.limits import CASE_NAME_CHARS, CASE_WEIGHT_MAX, CASES, PATTERN_BYTES
from khala.model.spec import Part
from khala.protocol.v2 import IssueCode
from tests.unit.gateway.documents import SMALLEST, issue_of, issues_of, task_of, unzip


def case(stdin: str = "1", stdout: str | None = "2", **more: object) -> dict[str, Any]:
    expect = {} if stdout is None else {"expect": {"stdout": {"text": stdout}}}
    return {"stdin": {"text": stdin}, **expect, **more}


def with_cases(*cases: dict[str, Any], **more: object) -> dict[str, Any]:
    return {**SMALLEST, "cases": list(cases), **more}


def test_files_of_cases_may_be_kept() -> None:
    task = task_of(with_cases(case(), artifacts={"collect": ["out/*"]}))
    assert task.artifacts is not None
    assert task.artifacts.globs == ("out/*",)


def test_cases_become_one_part() -> None:
    given = {"expect": {"stdout": {"part": "out"}}}
    task = task_of(with_cases(case("in", "out", name="a", weight=3), given), {"out": b"\xff\x00"})
    assert task.cases == (
        Case(name="a", stdin_bytes=2, expect_bytes=3, weight=3),
        Case(name="2", stdin_bytes=0, expect_bytes=2, weight=1),
    )
    content = task.parts[Part.CASES]
    assert content == b"inout\xff\x00"
    assert [stdin_span(task.cases, n) for n in (1, 2)] == [Span(0, 2), Span(5, 0)]
    assert [expected_span(task.cases, n) for n in (1, 2)] == [Span(2, 3), Span(5, 2)]
    assert task.check == Check() and not task.stop_on_first_failure


def test_without_an_expectation_nothing_is_judged() -> None:
    assert task_of(with_cases(case(stdout=None))).check is None
    assert task_of(SMALLEST).check is None
    assert task_of({**SMALLEST, "expect": {"stdout": {"text": ""}}}).check == Check()


@pytest.mark.parametrize(
    ("given", "check"),
    [
        ({"mode": "lines"}, Check(mode=CheckMode.LINES)),
        ({"mode": "float"}, Check(mode=CheckMode.FLOAT, absolute=1e-6, relative=1e-6)),
        ({"mode": "float", "absolute": 0.5}, Check(mode=CheckMode.FLOAT, absolute=0.5)),
        ({"mode": "float", "relative": 1}, Check(mode=CheckMode.FLOAT, relative=1.0)),
    ],
)
def test_checks(given: object, check: Check) -> None:
    assert task_of(with_cases(case(), check=given)).check == check


def test_a_checker_is_parts_of_the_task() -> None:
    check = {
        "mode": "program",
        "sources": [{"path": "check.cpp", "text": "int main;"}],
        "compile": "g++ -o check check.cpp",
        "command": "./check",
        "limits": {"wall_s": 3},
    }
    task = task_of(with_cases(case(stdout=None), check=check))
    assert unzip(task.parts[Part.CHECK_SOURCE]) == {"check.cpp": b"int main;"}
    assert task.parts[Part.CHECK_COMPILE] == b"g++ -o check check.cpp"
    assert task.parts[Part.CHECK_COMMAND] == b"./check"
    assert task.check == Check(mode=CheckMode.PROGRAM)
    assert task.check_limits is not None and task.check_limits.wall_ms == 3000


@pytest.mark.parametrize(
    ("document", "pointer", "code", "limit", "shown"),
    [
        (with_cases(*[case()] * (CASES + 1)), "/cases", "too_many", CASES, CASES + 1),
        (with_cases(case(), case(stdout=None)), "/cases/1/expect", "missing_field", None, None),
        (with_cases(case(name="a"), case(name="a")), "/cases/1/name", "duplicate", None, "a"),
        (with_cases(case(name="2"), case()), "/cases/1/name", "duplicate", None, ""),
        (with_cases(case(name="a\nb")), "/cases/0/name", "invalid_value", 64, "a\nb"),
        (
            with_cases(case(name="n" * (CASE_NAME_CHARS + 1))),
            "/cases/0/name",
            "invalid_value",
            CASE_NAME_CHARS,
            "n" * (CASE_NAME_CHARS + 1),
        ),
        (with_cases(case(weight=-1)), "/cases/0/weight", "below_minimum", 0, -1),
        (
            with_cases(case(weight=CASE_WEIGHT_MAX + 1)),
            "/cases/0/weight",
            "above_maximum",
            CASE_WEIGHT_MAX,
            CASE_WEIGHT_MAX + 1,
        ),
        (with_cases(case(), stdin={"text": "x"}), "/stdin", "invalid_value", None, None),
        (
            with_cases(case(), expect={"stdout": {"text": "x"}}),
            "/expect",
            "invalid_value",
            None,
            None,
        ),
        (
            {"stages": {"compile": {"command": "true"}}, "cases": [case()]},
            "/stages/execute",
            "missing_field",
            None,
            None,
        ),
        ({**SMALLEST, "check": {"mode": "lines"}}, "/expect", "missing_field", None, None),
        (
            with_cases(case(stdout=None), check={}),
            "/cases/0/expect",
            "missing_field",
            None,
            None,
        ),
        (
            with_cases(case(), check={"absolute": 1}),
            "/check/absolute",
            "invalid_value",
            None,
            1,
        ),
        (
            with_cases(case(), check={"mode": "float", "relative": -1}),
            "/check/relative",
            "below_minimum",
            0,
            -1,
        ),
        (
            with_cases(case(), check={"mode": "fuzzy"}),
            "/check/mode",
            "invalid_value",
            None,
            "fuzzy",
        ),
        (
            with_cases(case(stdout="(a"), check={"mode": "regex"}),
            "/cases/0/expect/stdout",
            "invalid_value",
            None,
            None,
        ),
        (
            with_cases(case(stdout="a" * (PATTERN_BYTES + 1)), check={"mode": "regex"}),
            "/cases/0/expect/stdout",
            "too_long",
            PATTERN_BYTES,
            PATTERN_BYTES + 1,
        ),
        (
            with_cases(case(), check={"mode": "program"}),
            "/check/command",
            "missing_field",
            None,
            None,
        ),
        (
            with_cases(case(), check={"command": "./check"}),
            "/check/command",
            "invalid_value",
            None,
            None,
        ),
        (
            with_cases(case(), check={"mode": "program", "command": " "}),
            "/check/command",
            "invalid_value",
            None,
            " ",
        ),
        (with_cases({"stdin": {}}), "/cases/0/stdin", "missing_field", None, None),
        (with_cases({"input": {}}), "/cases/0/input", "unknown_field", None, None),
    ],
)
def test_faults_name_the_field_the_limit_and_the_value(
    document: dict[str, Any], pointer: str, code: str, limit: object, shown: object
) -> None:
    issue = issue_of(document)
    assert (issue.pointer, issue.code, issue.limit) == (pointer, IssueCode(code), limit)
    assert issue.given == shown or shown is None
    assert issue.detail


def test_all_faults_are_told_at_once() -> None:
    document = with_cases(case(weight=-1), case(name="a" * 100), check={"absolute": -1})
    assert [issue.pointer for issue in issues_of(document)] == [
        "/cases/1/name",
        "/cases/0/weight",
        "/check/absolute",
        "/check/absolute",
    ]
