"""From the end of a program and its output to what is said of it.

An output is compared where it lies, in a file of the service. A small one is compared at once; a
large one leaves the event loop to the other slots, and stops when its task is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from khala.model.cases import Case, Check, Judgement, Score, Verdict, worst
from khala.model.outcome import CaseOutcome, Ending, Outcome, Reason, StageOutcome
from khala.model.spec import Stage, TaskSpec
from roles.executor.compare import Comparison
from sandbox import offload

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
_CUT = "the output is larger than its limit, and was not kept as a whole"


async def judge(
    check: Check,
    executed: StageOutcome,
    expected: Path,
    actual: Path,
    cancelled: Callable[[], bool],
) -> Judgement:
    """Of one run. Raises OSError, Stopped."""
    if not executed.ok:
        return Judgement(verdict=_BY_REASON.get(executed.reason, Verdict.RE))
    if executed.stdout_cut is not None:
        return Judgement(verdict=Verdict.OLE, note=_CUT)

    def compare(stopped: Callable[[], bool]) -> Judgement:
        with open(expected, "rb") as ours, open(actual, "rb") as theirs:
            return Comparison(check, ours, theirs, stopped).judge()

    if expected.stat().st_size + actual.stat().st_size <= _LARGE_BYTES:
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
    got = sum(case.weight for case, each in zip(cases, ended, strict=True) if each.accepted)
    return Score(got=got, of=sum(case.weight for case in cases))


def _score_of_one(judgement: Judgement) -> Score:
    return Score(got=int(judgement.verdict is Verdict.AC), of=1)
