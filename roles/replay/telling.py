"""The comparison as people read it, and as programs do."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec
from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.outcome import CacheUse
from khala.model.spec import Network
from khala.protocol import v2
from roles.client import tables
from roles.replay.comparing import CASE, MESSAGE, Difference, Line, Value

_SIZES = ("memory_peak_bytes", "stdout", "stderr")
_NAMES = {
    "exit_code": "exit code",
    "wall_ms": "wall time",
    "cpu_ms": "processor time",
    "memory_peak_bytes": "memory",
}
#: Differences that are named at the end.
_NAMED = 5


class Report(Struct, frozen=True, kw_only=True):
    """What `-o json` prints."""

    task: str
    #: The one that was replayed alone; null: all there is.
    case: int | None
    #: They ended alike.
    alike: bool
    lines: list[Line]
    #: What a replay here cannot be sure of, in sentences.
    caveats: list[str]
    #: What held when it was recorded; null if no executor said so.
    recorded_enforcement: Enforcement | None
    replayed_enforcement: Enforcement

    @property
    def subject(self) -> str:
        of = "" if self.case is None else f"case {self.case} of "
        return f"{of}task {self.task}"


def caveats_of(task: v2.Task, here: Enforcement) -> list[str]:
    """What differs between there and here, as far as it is known, before the task is looked at."""
    return [*_caveats(task, here)]


def _caveats(task: v2.Task, here: Enforcement) -> Iterator[str]:
    there = task.enforcement
    if task.image:
        yield f"image: this machine's {task.image!r}; whether it is the same is not recorded"
    else:
        of = f" of {task.executor}" if task.executor else ""
        yield f"programs and kernel: this machine's; those{of} are not recorded"
    if task.network is Network.FULL:
        yield "network: what it reaches from here, now"
    if there is None:
        yield "limits: no executor said what it enforced"
    elif there.gaps:
        yield f"recorded where this was not enforced: {there.gaps}"
    if here.gaps:
        yield f"this machine does not enforce: {here.gaps}"
    compiled = task.stages.compile.result
    if compiled is not None and compiled.cache is CacheUse.HIT:
        yield "compile: recorded out of a cache; what was measured is of an earlier run"


def show_json(report: Report) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())


def show_table(report: Report) -> None:
    """On stderr: stdout is the program's."""
    rows = [
        [_name(line), _cell(line.what, line.recorded), _cell(line.what, line.replayed), _said(line)]
        for line in _shown(report.lines)
    ]
    tables.show_table(["", "RECORDED", "REPLAYED", ""], rows, err=True)
    differing = {line.of for line in report.lines if line.same is False}
    for line in report.lines:
        if line.difference is not None:
            _say(f"{_name(line)}: {_sentence(line.difference)}")
        elif line.what == MESSAGE and line.of in differing:
            recorded, replayed = (_quoted(text) for text in (line.recorded, line.replayed))
            _say(f"{line.of or 'task'}: {recorded} was recorded, {replayed} was replayed")
    for caveat in report.caveats:
        _say(caveat)
    _say(f"{report.subject} {_conclusion(report.lines)}")


def _shown(lines: list[Line]) -> Iterator[Line]:
    """Of cases, of which there may be hundreds, one line and what differs."""
    judged = {line.of for line in lines if line.what == "verdict"}
    for line in lines:
        head = "verdict" if line.of in judged else "reason"
        if line.what == MESSAGE:
            continue
        if not line.of.startswith(CASE) or line.same is False or line.what == head:
            yield line


def _name(line: Line) -> str:
    what = _NAMES.get(line.what, line.what)
    return f"{line.of} {what}".strip()


def _cell(what: str, value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and what.endswith("_ms"):
        return tables.duration(value)
    if isinstance(value, int) and what in _SIZES:
        return tables.size(value)
    return str(value)


def _said(line: Line) -> str:
    return {True: "same", False: "differs", None: ""}[line.same]


def _sentence(found: Difference) -> str:
    """`line 3, byte 17: "a" was recorded, "b" was replayed`."""
    recorded, replayed = (
        "the end" if text is None else _quoted(text) for text in (found.recorded, found.replayed)
    )
    where = f"line {found.line}, byte {found.offset}"
    return f"from {where} on: {recorded} was recorded, {replayed} was replayed"


def _quoted(text: Value) -> str:
    return "nothing" if text is None else f'"{tables.plain(str(text))}"'


def _conclusion(lines: list[Line]) -> str:
    differing = [_name(line) for line in lines if line.same is False]
    if not differing:
        return "ended here as it did there"
    more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
    return f"differs in: {', '.join(differing[:_NAMED])}{more}"


def _say(sentence: str) -> None:
    click.echo(f"khala: {sentence}", err=True)
