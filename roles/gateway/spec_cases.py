"""Cases of a task document, and how outputs are judged, against what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from khala.model.cases import Case, Check, CheckMode
from khala.model.limits import (
    CASE_NAME_CHARS,
    CASE_WEIGHT_MAX,
    CASES,
    CHECK_TOLERANCE_MAX,
    COMMAND_BYTES,
    PATTERN_BYTES,
)
from khala.model.spec import Part
from khala.protocol.v2 import IssueCode
from roles.gateway.issues import Issues, step
from roles.gateway.spec import CaseSpec, CheckSpec, TaskSpecV2
from roles.gateway.spec_files import Content, Files
from roles.gateway.spec_limits import check_range

#: Of a number that names neither.
_TOLERANCE = 1e-6
#: Compiling one that ignores case may take long; what is wrong with it shows when it is tried.
_IGNORES_CASE = re.compile(r"\(\?[a-zA-Z]*i")


class Cases(Struct, frozen=True, kw_only=True):
    """What a task is made of."""

    cases: tuple[Case, ...]
    check: Check | None
    #: The cases' own, and the checker's.
    parts: dict[Part, Content]


def check_cases(spec: TaskSpecV2, files: Files, issues: Issues) -> Cases:
    """Faults go to `issues`, and what is returned is of no use then."""
    if len(spec.cases) > CASES:
        detail = f"{len(spec.cases)} are more than {CASES}; spread them over several tasks"
        issues.add("/cases", IssueCode.TOO_MANY, detail, limit=CASES, given=len(spec.cases))
        return Cases(cases=(), check=None, parts={})
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
    check = _check(spec, issues)
    if check is not None and check.mode is CheckMode.REGEX:
        _check_patterns(spec, content[1::2], files, issues)
    parts = {Part.CASES: b"".join(content), **_checker(spec.check, files, issues)}
    return Cases(cases=tuple(cases), check=check, parts=parts)


def _refuse_beside_cases(spec: TaskSpecV2, issues: Issues) -> None:
    """What a task with cases has in each of them, or not at all."""
    if spec.stages.execute is None:
        detail = "cases are inputs of the execute stage, and there is none"
        issues.add("/stages/execute", IssueCode.MISSING_FIELD, detail)
    for name in ("stdin", "expect"):
        if getattr(spec, name) is not None:
            detail = f"a task with cases has its {name} in each case"
            issues.add(f"/{name}", IssueCode.INVALID_VALUE, detail)


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
    program = spec.check is not None and spec.check.mode is CheckMode.PROGRAM
    if not any(expecting) and not program:
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
        check_range(value, 0, CHECK_TOLERANCE_MAX, f"/check/{name}", issues)
        if given.mode is not CheckMode.FLOAT:
            detail = f"a tolerance belongs to the mode float, and not to {given.mode}"
            issues.add(f"/check/{name}", IssueCode.INVALID_VALUE, detail, given=value)
    if given.mode is not CheckMode.FLOAT:
        return 0.0, 0.0
    if given.absolute is None and given.relative is None:
        return _TOLERANCE, _TOLERANCE
    return float(given.absolute or 0), float(given.relative or 0)


def _check_patterns(spec: TaskSpecV2, of_cases: list[bytes], files: Files, issues: Issues) -> None:
    if spec.expect is not None:
        _check_pattern(
            files.content(spec.expect.stdout, "/expect/stdout"), "/expect/stdout", issues
        )
    for index, pattern in enumerate(of_cases):
        _check_pattern(pattern, f"/cases{step(index)}/expect/stdout", issues)


def _check_pattern(pattern: bytes, pointer: str, issues: Issues) -> None:
    if len(pattern) > PATTERN_BYTES:
        detail = f"a pattern has {PATTERN_BYTES} bytes at most, {len(pattern)} were given"
        issues.add(pointer, IssueCode.TOO_LONG, detail, limit=PATTERN_BYTES, given=len(pattern))
        return
    try:
        text = pattern.decode()
        if not _IGNORES_CASE.search(text):
            re.compile(text.rstrip("\r\n"))
    except (re.error, UnicodeDecodeError, OverflowError, RecursionError) as error:
        issues.add(pointer, IssueCode.INVALID_VALUE, f"this is no pattern: {error}")


def _checker(given: CheckSpec | None, files: Files, issues: Issues) -> dict[Part, Content]:
    if given is None:
        return {}
    if given.mode is not CheckMode.PROGRAM:
        for name in _program_fields(given):
            detail = f"this belongs to the mode program, and not to {given.mode}"
            issues.add(f"/check/{name}", IssueCode.INVALID_VALUE, detail)
        return {}
    commands = {"compile": given.compile, "command": given.command}
    for name, command in commands.items():
        if command is None and name == "command":
            detail = "a checker is asked by a command, such as ./check"
            issues.add("/check/command", IssueCode.MISSING_FIELD, detail)
        elif command is not None:
            check_command(command, f"/check/{name}", issues)
    return {
        Part.CHECK_SOURCE: files.archive(given.sources, "/check/sources"),
        Part.CHECK_COMPILE: (given.compile or "").encode(),
        Part.CHECK_COMMAND: (given.command or "").encode(),
    }


def check_command(command: str, pointer: str, issues: Issues) -> bytes:
    """The script of a stage, or of a checker."""
    script = command.encode()
    if not command.strip():
        detail = "a stage has a command; leave the stage out if it has nothing to do"
        issues.add(pointer, IssueCode.INVALID_VALUE, detail, given=command)
    if len(script) > COMMAND_BYTES:
        detail = (
            f"{len(script)} bytes are more than the {COMMAND_BYTES} of a command; put long scripts"
            " into the sources"
        )
        issues.add(pointer, IssueCode.TOO_LONG, detail, limit=COMMAND_BYTES, given=len(script))
    return script


def _program_fields(given: CheckSpec) -> Iterator[str]:
    empty = CheckSpec()
    for name in ("sources", "compile", "command", "limits"):
        if getattr(given, name) != getattr(empty, name):
            yield name
