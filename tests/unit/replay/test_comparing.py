"""What decides whether two ends are alike, and where two outputs leave each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from khala.model.cases import Verdict
from khala.model.live import Channel
from khala.model.outcome import Reason
from khala.model.spec import Stage
from khala.model.task import TaskState
from roles.replay.comparing import Difference, Line, alike, compare, first_difference
from roles.replay.ending import CaseEnd, End, Run, Written

RUN = Run(
    reason=Reason.OK,
    exit_code=0,
    signal=None,
    wall_ms=7,
    cpu_ms=5,
    memory_peak_bytes=4096,
    message=None,
)
END = End(
    state=TaskState.SUCCEEDED,
    reason=Reason.OK,
    verdict=None,
    score=None,
    message=None,
    runs={Stage.EXECUTE: RUN},
)


def written(path: Path, content: bytes, *, size: int | None = None) -> Written:
    """`size` is more than what is kept of it."""
    path.write_bytes(content)
    return Written(size=size or len(content), beginning=len(content), path=path)


def with_output(folder: Path, content: bytes, run: Run = RUN, size: int | None = None) -> Run:
    """A run that wrote it to stdout."""
    output = written(folder / f"{len(list(folder.iterdir()))}", content, size=size)
    return replace(run, outputs={Channel.STDOUT: output})


def ended(run: Run, state: TaskState = TaskState.SUCCEEDED) -> End:
    return replace(END, state=state, reason=run.reason, runs={Stage.EXECUTE: run})


def differing(lines: list[Line]) -> list[str]:
    return [f"{line.of} {line.what}".strip() for line in lines if line.same is False]


def test_measurements_decide_nothing() -> None:
    slower = replace(RUN, wall_ms=700, cpu_ms=600, memory_peak_bytes=1 << 30)
    lines = compare(END, ended(slower), whole=True)
    assert alike(lines)
    shown = {line.what: (line.recorded, line.replayed) for line in lines if line.same is None}
    assert shown["wall_ms"] == (7, 700) and shown["memory_peak_bytes"] == (4096, 1 << 30)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"exit_code": 3, "reason": Reason.EXIT_NONZERO}, ["execute reason", "execute exit_code"]),
        ({"exit_code": None, "signal": 11}, ["execute exit_code", "execute signal"]),
    ],
)
def test_the_end_of_a_program_decides(change: dict[str, object], what: list[str]) -> None:
    other = replace(END, runs={Stage.EXECUTE: replace(RUN, **change)})
    assert differing(compare(END, other, whole=True)) == what


def test_a_stage_that_only_one_reached_differs() -> None:
    lines = compare(END, replace(END, runs={}), whole=True)
    assert differing(lines) == ["execute reason", "execute exit_code"]


def test_every_byte_of_the_outputs_decides(tmp_path: Path) -> None:
    recorded = ended(with_output(tmp_path, b"one\ntwo\nthree\n"))
    same = compare(recorded, ended(with_output(tmp_path, b"one\ntwo\nthree\n")), whole=True)
    assert alike(same)
    lines = compare(recorded, ended(with_output(tmp_path, b"one\ntwx\nthree\n")), whole=True)
    assert differing(lines) == ["execute stdout"]
    assert lines[-1].difference == Difference(offset=6, line=2, recorded="o", replayed="x")


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (b"", b"", None),
        (b"same", b"same", None),
        (b"", b"more", Difference(offset=0, line=1, recorded=None, replayed="more")),
        (b"a\nb\n", b"a\n", Difference(offset=2, line=2, recorded="b", replayed=None)),
        (b"a\xff", b"a\xfe", Difference(offset=1, line=1, recorded="\ufffd", replayed="\ufffd")),
        (b"x" * 200, b"y", Difference(offset=0, line=1, recorded="x" * 80, replayed="y")),
    ],
)
def test_where_outputs_leave_each_other(
    tmp_path: Path, ours: bytes, theirs: bytes, found: Difference | None
) -> None:
    outputs = written(tmp_path / "ours", ours), written(tmp_path / "theirs", theirs)
    assert first_difference(*outputs, as_far_as_both=False) == found


def test_a_difference_far_behind_is_found(tmp_path: Path) -> None:
    """Beyond one piece of a file, and in the middle of one."""
    line = b"0123456789abcde\n"
    ours = line * 200_000
    theirs = ours[:2_500_000] + b"?" + ours[2_500_001:]
    outputs = written(tmp_path / "ours", ours), written(tmp_path / "theirs", theirs)
    found = first_difference(*outputs, as_far_as_both=False)
    assert found is not None
    assert (found.offset, found.line) == (2_500_000, 2_500_000 // len(line) + 1)
    assert found.replayed is not None and found.replayed.startswith("?")


def test_what_was_stopped_is_compared_as_far_as_both_came(tmp_path: Path) -> None:
    stopped = replace(RUN, reason=Reason.WALL_TIME, exit_code=None)
    recorded = ended(with_output(tmp_path, b"1\n2\n3\n", stopped), TaskState.FAILED)
    shorter = ended(with_output(tmp_path, b"1\n2\n", stopped), TaskState.FAILED)
    assert alike(compare(recorded, shorter, whole=True))
    assert alike(compare(shorter, recorded, whole=True))
    other = ended(with_output(tmp_path, b"1\n?\n", stopped), TaskState.FAILED)
    assert differing(compare(recorded, other, whole=True)) == ["execute stdout"]


def test_of_an_output_with_a_gap_the_beginning_and_the_size_decide(tmp_path: Path) -> None:
    recorded = ended(with_output(tmp_path, b"begin", size=1000))
    assert alike(compare(recorded, ended(with_output(tmp_path, b"begin", size=1000)), whole=True))
    for other in (
        with_output(tmp_path, b"begin", size=1001),
        with_output(tmp_path, b"begun", size=1000),
        with_output(tmp_path, b"begin"),
    ):
        assert differing(compare(recorded, ended(other), whole=True)) == ["execute stdout"]


def case(number: int, verdict: Verdict, run: Run | None = RUN) -> CaseEnd:
    return CaseEnd(number=number, name=str(number), verdict=verdict, run=run)


def test_cases_are_compared_by_their_numbers() -> None:
    recorded = replace(END, verdict=Verdict.WA, cases=(case(1, Verdict.AC), case(2, Verdict.WA)))
    again = replace(recorded, cases=(case(1, Verdict.AC), case(2, Verdict.AC)))
    assert differing(compare(recorded, again, whole=True)) == ["case 2 verdict"]


def test_of_one_case_alone_nothing_is_said_of_the_others() -> None:
    recorded = replace(
        END,
        verdict=Verdict.WA,
        state=TaskState.FAILED,
        cases=(case(1, Verdict.RE), case(2, Verdict.WA)),
    )
    alone = replace(END, verdict=Verdict.WA, cases=(case(2, Verdict.WA),))
    lines = compare(recorded, alone, whole=False)
    assert alike(lines)
    assert {line.of for line in lines} == {"case 2"}


def test_a_case_that_was_skipped_and_runs_now_differs() -> None:
    recorded = replace(END, cases=(case(1, Verdict.SKIP, None),))
    again = replace(END, cases=(case(1, Verdict.AC),))
    assert differing(compare(recorded, again, whole=True)) == [
        "case 1 verdict",
        "case 1 reason",
        "case 1 exit_code",
    ]
