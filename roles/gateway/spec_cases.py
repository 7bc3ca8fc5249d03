"""Cases of a task document, and how outputs are judged, against what is allowed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from khala.model.cases import Case, Check, CheckMode
from khala.model.limits import CASE_NAME_CHARS, CASE_WEIGHT_MAX, CASES
from khala.protocol.v2 import IssueCode
from roles.gateway.issues import Issues, step
from roles.gateway.spec import CaseSpec, CheckSpec, TaskSpecV2
from roles.gateway.spec_files import Files
from roles.gateway.spec_limits import check_range

#: Of a number that names neither.
_TOLERANCE = 1e-6
_TOLERANCE_MAX = 1e9


class Cases(Struct, frozen=True, kw_only=True):
    """What a task is made of."""

    cases: tuple[Case, ...]
    #: The part `cases`.
    content: bytes
    check: Check | None


def check_cases(spec: TaskSpecV2, files: Files, issues: Issues) -> Cases:
    """Faults go to `issues`, and what is returned is of no use then."""
    if len(spec.cases) > CASES:
        detail = f"{len(spec.cases)} are more than {CASES}; spread them over several tasks"
        issues.add("/cases", IssueCode.TOO_MANY, detail, limit=CASES, given=len(spec.cases))
        return Cases(cases=(), content=b"", check=None)
    if spec.cases:
        _refuse_beside_cases(spec, issues)
    names = _names(spec.cases, issues)
    cases: list[Case] = []
    content: list[bytes] = []
    for index, (name, given) in enumerate(zip(names, spec.cases, strict=True)):
        pointer = f"/cases{step(index)}"
        check_range(given.weight, 0, CASE_WEIGHT_MAX, f"{pointer}/weight", issues)
        stdin = files.content(given.stdin, f"{pointer}/stdin") if given.stdin else b""
        expected = b""
        if given.expect is not None:
            expected = files.content(given.expect.stdout, f"{pointer}/expect/stdout")
        content += [stdin, expected]
        cases.append(
            Case(
                name=name,
                stdin_bytes=len(stdin),
                expect_bytes=len(expected),
                weight=given.weight,
            )
        )
    return Cases(cases=tuple(cases), content=b"".join(content), check=_check(spec, issues))


def _refuse_beside_cases(spec: TaskSpecV2, issues: Issues) -> None:
    """What a task with cases has in each of them, or not at all."""
    if spec.stages.execute is None:
        detail = "cases are inputs of the execute stage, and there is none"
        issues.add("/stages/execute", IssueCode.MISSING_FIELD, detail)
    for name in ("stdin", "expect"):
        if getattr(spec, name) is not None:
            detail = f"a task with cases has its {name} in each case"
            issues.add(f"/{name}", IssueCode.INVALID_VALUE, detail)
    if spec.artifacts is not None:
        detail = "no files are kept of a task with cases; leave one of them out"
        issues.add("/artifacts", IssueCode.INVALID_VALUE, detail)


def _names(given: Sequence[CaseSpec], issues: Issues) -> list[str]:
    names: dict[str, None] = {}
    for index, case in enumerate(given):
        name = case.name or str(index + 1)
        pointer = f"/cases{step(index)}/name"
        if len(name) > CASE_NAME_CHARS or not name.isprintable():
            detail = f"a name has 1 to {CASE_NAME_CHARS} characters that can be shown"
            issues.add(
                pointer, IssueCode.INVALID_VALUE, detail, limit=CASE_NAME_CHARS, given=case.name
            )
        if name in names:
            detail = f"{name!r} is given twice; a case without a name is called by its number"
            issues.add(pointer, IssueCode.DUPLICATE, detail, given=case.name)
        names[name] = None
    return [case.name or str(number) for number, case in enumerate(given, 1)]


def _check(spec: TaskSpecV2, issues: Issues) -> Check | None:
    """None if nothing is expected: then there is nothing to judge."""
    expecting = [case.expect is not None for case in spec.cases] or [spec.expect is not None]
    if any(expecting) and not all(expecting):
        pointer = f"/cases{step(expecting.index(False))}/expect"
        detail = "either every case has an expected output, or none"
        issues.add(pointer, IssueCode.MISSING_FIELD, detail)
    if not any(expecting):
        if spec.check is not None:
            pointer = "/cases/0/expect" if spec.cases else "/expect"
            detail = "a check needs an expected output"
            issues.add(pointer, IssueCode.MISSING_FIELD, detail)
        return None
    given = spec.check or CheckSpec()
    absolute, relative = _tolerances(given, issues)
    return Check(mode=given.mode, absolute=absolute, relative=relative)


def _tolerances(given: CheckSpec, issues: Issues) -> tuple[float, float]:
    named = {name: getattr(given, name) for name in ("absolute", "relative")}
    for name, value in named.items():
        if value is None:
            continue
        check_range(value, 0, _TOLERANCE_MAX, f"/check/{name}", issues)
        if given.mode is not CheckMode.FLOAT:
            detail = f"a tolerance belongs to the mode float, and not to {given.mode}"
            issues.add(f"/check/{name}", IssueCode.INVALID_VALUE, detail, given=value)
    if given.mode is not CheckMode.FLOAT:
        return 0.0, 0.0
    if given.absolute is None and given.relative is None:
        return _TOLERANCE, _TOLERANCE
    return float(given.absolute or 0), float(given.relative or 0)
