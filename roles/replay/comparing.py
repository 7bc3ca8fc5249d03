"""What is the same of two ends of a task, and what differs.

Two runs of one program never take the same time, so measurements are shown beside each other and
decide nothing. What decides is what a program that depends on nothing but its input would do
again: how it ended, what was said of it, and every byte that it wrote. A program that was stopped
at a limit wrote as much as the machine let it until then: of its outputs only what both have is
compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from msgspec import Struct

from khala.model.cases import Score
from khala.model.equal import equal_bytes
from khala.model.live import Channel
from khala.model.outcome import Reason
from khala.model.spec import Stage
from roles.replay.ending import CaseEnd, End, Run, Written

_CHUNK_BYTES = 1 << 20
#: Shown of each output from its first difference on.
_SHOWN_BYTES = 80
#: How much a program had written by then is the machine's doing.
_STOPPED = frozenset(
    {Reason.WALL_TIME, Reason.CPU_TIME, Reason.MEMORY, Reason.OUTPUT_LIMIT, Reason.CANCELLED}
)
_MEASURED = ("wall_ms", "cpu_ms", "memory_peak_bytes")
_DECISIVE = ("reason", "exit_code", "signal")

Value: TypeAlias = str | int | None
#: A sentence of either, for people: it depends on measurements.
MESSAGE = "message"
#: What a line of a case begins with.
CASE = "case"


class Difference(Struct, frozen=True, kw_only=True):
    """The first place where two outputs differ."""

    #: Of the byte, from 0, and of its line, from 1.
    offset: int
    line: int
    #: What follows, to the end of the line at the most; null where that output was at its end.
    recorded: str | None
    replayed: str | None


class Line(Struct, frozen=True, kw_only=True):
    """One thing that both ends have, or one of them."""

    #: "compile", "execute" or "case 3"; empty for the task.
    of: str
    #: "state", "exit_code", "wall_ms", ...; of an output, "stdout", which shows its size.
    what: str
    recorded: Value
    replayed: Value
    #: Null for what is measured: it decides nothing.
    same: bool | None
    #: Of an output whose bytes differ.
    difference: Difference | None = None


def compare(recorded: End, replayed: End, *, whole: bool) -> list[Line]:
    """Of all cases; or, if it is not the `whole`, of those alone that were replayed, and nothing
    of the task that all of them decide. Raises OSError."""
    return [*_compare(recorded, replayed, whole=whole)]


def alike(lines: list[Line]) -> bool:
    return all(line.same is not False for line in lines)


def _compare(recorded: End, replayed: End, *, whole: bool) -> Iterator[Line]:
    if whole:
        for name in ("state", "reason", "verdict"):
            ours, theirs = getattr(recorded, name), getattr(replayed, name)
            if name != "verdict" or ours or theirs:
                yield _decisive("", name, ours, theirs)
        scores = _show(recorded.score), _show(replayed.score)
        if any(scores):
            yield _decisive("", "score", *scores)
        yield from _messages("", recorded.message, replayed.message)
    for stage in Stage:
        if whole or stage is Stage.COMPILE:
            runs = recorded.runs.get(stage), replayed.runs.get(stage)
            yield from _compare_runs(str(stage), *runs)
    by_number = {case.number: case for case in replayed.cases}
    for case in recorded.cases:
        if whole or case.number in by_number:
            yield from _compare_cases(case, by_number.get(case.number))


def _show(score: Score | None) -> str | None:
    return f"{score.got:g}/{score.of}" if score else None


def _compare_cases(recorded: CaseEnd, replayed: CaseEnd | None) -> Iterator[Line]:
    of = f"{CASE} {recorded.number}"
    verdict = replayed.verdict if replayed else None
    if recorded.verdict or verdict:
        yield _decisive(of, "verdict", recorded.verdict, verdict)
    yield from _compare_runs(of, recorded.run, replayed.run if replayed else None)
    yield from _messages(of, recorded.message, replayed.message if replayed else None)


def _compare_runs(of: str, recorded: Run | None, replayed: Run | None) -> Iterator[Line]:
    if recorded is None and replayed is None:
        return
    for name in _DECISIVE:
        ours, theirs = getattr(recorded, name, None), getattr(replayed, name, None)
        if name == "reason" or ours is not None or theirs is not None:
            yield _decisive(of, name, ours, theirs)
    messages = (run.message if run else None for run in (recorded, replayed))
    yield from _messages(of, *messages)
    for name in _MEASURED:
        ours, theirs = getattr(recorded, name, None), getattr(replayed, name, None)
        yield Line(of=of, what=name, recorded=ours, replayed=theirs, same=None)
    if recorded is None or replayed is None:
        return  # one of them did not come so far, which was said
    stopped = recorded.reason is replayed.reason and recorded.reason in _STOPPED
    for channel in Channel:
        outputs = recorded.outputs.get(channel), replayed.outputs.get(channel)
        if outputs[0] is not None and outputs[1] is not None:
            yield _compare_outputs(of, channel, (outputs[0], outputs[1]), stopped=stopped)


def _compare_outputs(
    of: str, channel: Channel, outputs: tuple[Written, Written], *, stopped: bool
) -> Line:
    recorded, replayed = outputs
    difference = first_difference(recorded, replayed, as_far_as_both=stopped)
    same = difference is None and (stopped or recorded.size == replayed.size)
    return Line(
        of=of,
        what=channel,
        recorded=recorded.size,
        replayed=replayed.size,
        same=same,
        difference=difference,
    )


def _messages(of: str, recorded: str | None, replayed: str | None) -> Iterator[Line]:
    if recorded or replayed:
        yield Line(of=of, what=MESSAGE, recorded=recorded, replayed=replayed, same=None)


def _decisive(of: str, what: str, recorded: Value, replayed: Value) -> Line:
    same = recorded == replayed
    return Line(of=of, what=what, recorded=recorded, replayed=replayed, same=same)


def first_difference(
    recorded: Written, replayed: Written, *, as_far_as_both: bool
) -> Difference | None:
    """Of what is kept of both, up to a gap. One that is whole ends where its file does, and the
    other one may go on, unless they are compared `as_far_as_both` go. Raises OSError."""
    common = min(recorded.beginning, replayed.beginning)
    with recorded.open() as ours, replayed.open() as theirs:
        at, line = 0, 1
        while at < common:
            size = min(_CHUNK_BYTES, common - at)
            left, right = ours.read(size), theirs.read(size)
            if left != right:
                place = equal_bytes(left, right)
                line += left[:place].count(b"\n")
                return _told((ours, theirs), (recorded, replayed), at + place, line)
            if len(left) < size:
                raise OSError(f"{recorded.path.name} is shorter than it should be")
            at += size
            line += left.count(b"\n")
        shorter = min(recorded, replayed, key=lambda each: each.beginning)
        ends = shorter.whole and recorded.beginning != replayed.beginning
        if as_far_as_both or not ends:
            return None
        return _told((ours, theirs), (recorded, replayed), common, line)


def _told(
    files: tuple[BinaryIO, BinaryIO], outputs: tuple[Written, Written], offset: int, line: int
) -> Difference:
    recorded, replayed = (
        _text_at(file, output, offset) for file, output in zip(files, outputs, strict=True)
    )
    return Difference(offset=offset, line=line, recorded=recorded, replayed=replayed)


def _text_at(file: BinaryIO, output: Written, offset: int) -> str | None:
    size = min(_SHOWN_BYTES, output.beginning - offset)
    if size <= 0:
        return None
    file.seek(output.first + offset)
    return file.read(size).split(b"\n", 1)[0].decode("utf-8", "replace")
