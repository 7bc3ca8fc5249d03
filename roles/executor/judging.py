"""From the end of a program and its output to what is said of it.

An output is compared where it lies, in a file of the service. A small one is compared at once; a
large one leaves the event loop to the other slots, and stops when its task is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import msgspec

from khala.model.cases import Case, Check, CheckMode, Judgement, Score, Verdict, worst
from khala.model.outcome import CaseOutcome, Ending, Outcome, Reason, StageOutcome
from khala.model.spec import Stage, TaskSpec
from roles.executor.attempt import Attempt
from roles.executor.building import Builder
from roles.executor.checker import Checker
from roles.executor.compare import Comparison, Stopped
from roles.executor.pattern import match
from sandbox import Sandbox, offload

#: Work on more than this leaves the event loop for a thread.
_LARGE_BYTES = 64 * 1024
_BY_REASON = {
    Reason.WALL_TIME: Verdict.TLE,
    Reason.CPU_TIME: Verdict.TLE,
    Reason.MEMORY: Verdict.MLE,
    Reason.OUTPUT_LIMIT: Verdict.OLE,
    Reason.FILE_SIZE: Verdict.OLE,
}
#: Of a case that was not run.
SKIPPED = Judgement(verdict=Verdict.SKIP)
#: Of a sum of points that a checker gave.
_DIGITS = 6
_CUT = "the output is larger than its limit, and was not kept as a whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Of one run; files of the service. The input and what is expected may be empty."""

    stdin: Path
    expected: Path
    actual: Path


class Judge:
    """Judges the outputs of one attempt; a context manager, for its checker needs files."""

    def __init__(self, builder: Builder, sandbox: Sandbox, attempt: Attempt) -> None:
        self._attempt = attempt
        self._check = attempt.spec.judged_by or Check()
        self._checker = Checker(builder, sandbox, attempt)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._checker.close()

    async def judge(self, case: Case, executed: StageOutcome, files: Files) -> Judgement:
        """What is said of one run. Raises OSError, Stopped, and what running a stage does."""
        if executed.reason is Reason.CANCELLED:
            raise Stopped
        if not executed.ok:
            return Judgement(verdict=_BY_REASON.get(executed.reason, Verdict.RE))
        if executed.stdout_cut is not None:
            return Judgement(verdict=Verdict.OLE, note=_CUT)
        if self._check.mode is CheckMode.PROGRAM:
            paths = (files.stdin, files.expected, files.actual)
            return await self._checker.judge(case.weight, *paths)
        if self._check.mode is CheckMode.REGEX:
            return await offload(partial(match, files.expected, files.actual))
        return await self._compare(files)

    async def _compare(self, files: Files) -> Judgement:
        cancelled = self._attempt.cancel.is_set

        def compare(stopped: Callable[[], bool]) -> Judgement:
            with open(files.expected, "rb") as ours, open(files.actual, "rb") as theirs:
                return Comparison(self._check, ours, theirs, stopped).judge()

        if files.expected.stat().st_size + files.actual.stat().st_size <= _LARGE_BYTES:
            return compare(cancelled)
        return await offload(lambda stopped: compare(lambda: stopped() or cancelled()))


def conclude(spec: TaskSpec, outcome: Outcome) -> Outcome:
    """With what follows for the whole task. `outcome` has a judgement if it has a single run, or
    else its cases."""
    unknown = outcome.ending is Ending.ERROR or outcome.reason is Reason.CANCELLED
    if spec.judged_by is None or unknown:
        return outcome
    cases = outcome.cases
    if outcome.stage is Stage.COMPILE and outcome.ending is Ending.FAILED:
        cases = (CaseOutcome(judgement=SKIPPED),) * len(spec.cases)
        judgement: Judgement | None = Judgement(verdict=Verdict.CE)
    elif spec.cases:
        judgement = Judgement(
            verdict=worst(each.judgement.verdict for each in cases if each.judgement)
        )
    else:
        judgement = outcome.judgement
    if judgement is None:
        return outcome
    score = _score(spec.cases, cases) if spec.cases else _score_of_one(judgement)
    return msgspec.structs.replace(outcome, cases=cases, judgement=judgement, score=score)


def _score(cases: Sequence[Case], ended: Sequence[CaseOutcome]) -> Score:
    points = (_points(case.weight, each) for case, each in zip(cases, ended, strict=True))
    return Score(got=round(sum(points), _DIGITS), of=sum(case.weight for case in cases))


def _points(weight: int, ended: CaseOutcome) -> float:
    judgement = ended.judgement
    if judgement is not None and judgement.points is not None:
        return judgement.points
    return weight if ended.accepted else 0


def _score_of_one(judgement: Judgement) -> Score:
    accepted = int(judgement.verdict is Verdict.AC)
    return Score(got=accepted if judgement.points is None else judgement.points, of=1)
