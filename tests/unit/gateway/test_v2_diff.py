"""`/cases/N/diff`: two texts from where they leave each other, however long they are before."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from khala.model.cases import Case, Check, Difference, Judgement, Verdict
from khala.model.ids import TaskId
from khala.model.limits import DIFF_TEXT_BYTES
from khala.model.outcome import (
    CaseOutcome,
    Ending,
    Outcome,
    Reason,
    StageOutcome,
    StreamCut,
    StreamRef,
)
from khala.model.spec import Part, PartRef, Stage
from tests.store.samples import a_lease, a_task, finish_item
from tests.unit.gateway.conftest import Site

TOKENS = Check()


async def judged(
    site: Site,
    *texts: tuple[bytes, bytes],
    check: Check | None = TOKENS,
    cut: StreamCut | None = None,
    ended: bool = True,
) -> TaskId:
    """A task whose cases expected the first of two texts and wrote the second."""
    expected = b"".join(ours for ours, _ in texts)
    written = b"".join(theirs for _, theirs in texts)
    task = a_task(lease=a_lease())
    spec = replace(
        task.spec,
        check=check,
        cases=tuple(Case(name="c", expect_bytes=len(ours)) for ours, _ in texts),
        parts={Part.CASES: PartRef(size_bytes=len(expected), sha256="0" * 64, inline=expected)},
    )
    memory = site.judicator.memory
    await memory.tasks.insert_if_new([replace(task, spec=spec)])
    difference = Difference(line=2, expected="3", actual="4")
    outcome = Outcome(
        ending=Ending.SUCCEEDED,
        reason=Reason.OK,
        stage=Stage.EXECUTE,
        execute=StageOutcome(reason=Reason.OK, exit_code=0),
        cases=tuple(
            CaseOutcome(
                execute=StageOutcome(reason=Reason.OK, stdout_bytes=len(theirs), stdout_cut=cut),
                judgement=(
                    Judgement(verdict=Verdict.AC)
                    if ours == theirs
                    else Judgement(verdict=Verdict.WA, difference=difference)
                ),
            )
            for ours, theirs in texts
        ),
        case_outputs=StreamRef(size_bytes=len(written), inline=written),
    )
    if ended:
        await memory.tasks.finish_if_attempt([finish_item(task.id, 1, outcome)])
    return task.id


async def diff(site: Site, task: TaskId, number: object) -> tuple[int, dict[str, Any]]:
    async with site.http.get(site.url(f"/api/v2/tasks/{task}/cases/{number}/diff")) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_the_difference_is_named_and_shown(site: Site) -> None:
    task = await judged(site, (b"same\n", b"same\n"), (b"1\n3\n5\n", b"1\n4\n"))
    status, found = await diff(site, task, 2)
    assert status == 200
    assert (found["number"], found["name"], found["verdict"]) == (2, "c", "WA")
    assert found["first_difference"] == {"line": 2, "expected": "3", "actual": "4"}
    assert found["line"] == 1
    assert found["expected"] == {"text": "1\n3\n5\n", "more": False, "size": 6}
    assert found["actual"] == {"text": "1\n4\n", "more": False, "size": 4}


async def test_equal_texts_have_no_difference(site: Site) -> None:
    task = await judged(site, (b"same\n", b"same\n"))
    _, found = await diff(site, task, 1)
    assert (found["line"], found["first_difference"]) == (None, None)
    assert (found["expected"]["text"], found["actual"]["text"]) == ("", "")
    assert not found["expected"]["more"] and not found["actual"]["more"]


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 4, 5, 50_000])
async def test_what_is_equal_before_it_is_left_out_but_for_three_lines(
    site: Site, lines: int
) -> None:
    before = "".join(f"line {n}\n" for n in range(lines)).encode()
    after = b"x" * (3 * DIFF_TEXT_BYTES)
    task = await judged(site, (before + b"right\n" + after, before + b"wrong\n" + after))
    _, found = await diff(site, task, 1)
    shown = "".join(f"line {n}\n" for n in range(max(0, lines - 3), lines))
    assert found["line"] == max(1, lines - 2)
    for side, word in (("expected", "right"), ("actual", "wrong")):
        assert found[side]["text"].startswith(f"{shown}{word}\n")
        assert len(found[side]["text"]) == DIFF_TEXT_BYTES
        assert found[side]["more"]


@pytest.mark.parametrize(
    ("ours", "theirs", "line"),
    [
        (b"", b"\n", 1),
        (b"a", b"", 1),
        (b"a\n", b"a", 1),
        (b"a\n", b"a\nb", 1),
        (b"\xff\n", b"\xfe\n", 1),
        (b"\n" * 9 + b"a", b"\n" * 9 + b"b", 7),
    ],
)
async def test_odd_texts(site: Site, ours: bytes, theirs: bytes, line: int) -> None:
    status, found = await diff(site, await judged(site, (ours, theirs)), 1)
    assert (status, found["line"]) == (200, line)


async def test_a_line_without_an_end_does_not_hide_the_difference(site: Site) -> None:
    long = b"x" * (4 * DIFF_TEXT_BYTES)
    _, found = await diff(site, await judged(site, (long + b"right", long + b"wrong")), 1)
    assert (found["line"], found["expected"]["text"]) == (1, "right")
    assert found["actual"]["text"] == "wrong"


async def test_what_was_not_kept_may_differ(site: Site) -> None:
    cut = StreamCut(seen_bytes=100, gap_at=4)
    _, found = await diff(site, await judged(site, (b"same", b"same"), cut=cut), 1)
    assert found["line"] == 1
    assert found["actual"] == {"text": "same", "more": True, "size": 100}


@pytest.mark.parametrize(
    ("number", "how", "says"),
    [
        (0, {}, "'0': the task has cases 1 to 1"),
        (2, {}, "'2': the task has cases 1 to 1"),
        ("x", {}, "'x': the task has cases 1 to 1"),
        (1, {"check": None}, "nothing is expected of the cases"),
        (1, {"ended": False}, "has no output yet"),
    ],
)
async def test_what_cannot_be_compared(
    site: Site, number: object, how: dict[str, Any], says: str
) -> None:
    status, problem = await diff(site, await judged(site, (b"a", b"b"), **how), number)
    assert (status, problem["field"]) == (404, "case")
    assert says in problem["detail"]
