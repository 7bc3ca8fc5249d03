"""Cases, verdicts and scores as `khala.protocol.v2` shows them."""

from __future__ import annotations

from khala.model.cases import Case, Check, CheckMode, Difference, Judgement, Score, Verdict
from khala.model.outcome import CaseOutcome, StageOutcome, StreamCut
from khala.model.task import Task
from khala.protocol import v2


def view_cases(task: Task) -> list[v2.Case]:
    """One for each case of the task; without its results until there are some."""
    ended = task.outcome.cases if task.outcome else ()
    cases = task.spec.cases
    nothing = (CaseOutcome(),) * (len(cases) - len(ended))
    pairs = zip(cases, (*ended, *nothing), strict=True)
    return [_view_case(number, case, each) for number, (case, each) in enumerate(pairs, 1)]


def _view_case(number: int, case: Case, ended: CaseOutcome) -> v2.Case:
    judgement, run = ended.judgement, ended.execute
    verdict = judgement.verdict if judgement else None
    if run is None:
        return v2.Case(number=number, name=case.name, weight=case.weight, verdict=verdict)
    return v2.Case(
        number=number,
        name=case.name,
        weight=case.weight,
        verdict=verdict,
        reason=run.reason,
        exit_code=run.exit_code,
        signal=run.signal,
        limit=run.limit,
        observed=run.observed,
        wall_ms=run.wall_ms,
        cpu_ms=run.cpu_user_ms + run.cpu_system_ms,
        memory_peak_bytes=run.memory_peak_bytes,
        message=message_of(judgement, run),
        first_difference=view_difference(judgement),
        stdout=_view_output(run.stdout_bytes, run.stdout_cut),
        stderr=_view_output(run.stderr_bytes, run.stderr_cut),
    )


def message_of(judgement: Judgement | None, run: StageOutcome | None) -> str | None:
    """What the check has to say, else what the run has."""
    if judgement is not None and judgement.note is not None:
        return judgement.note
    return run.note if run else None


def view_difference(judgement: Judgement | None) -> v2.Difference | None:
    found: Difference | None = judgement.difference if judgement else None
    if found is None:
        return None
    return v2.Difference(line=found.line, expected=found.expected, actual=found.actual)


def view_verdict(task: Task) -> Verdict | None:
    judgement = task.outcome.judgement if task.outcome else None
    return judgement.verdict if judgement else None


def view_score(score: Score | None) -> v2.Score | None:
    if score is None:
        return None
    whole = score.got == int(score.got)
    return v2.Score(got=int(score.got) if whole else score.got, of=score.of)


def view_check(check: Check | None) -> v2.Check | None:
    if check is None:
        return None
    if check.mode is not CheckMode.FLOAT:
        return v2.Check(mode=check.mode)
    return v2.Check(mode=check.mode, absolute=check.absolute, relative=check.relative)


def _view_output(kept: int, cut: StreamCut | None) -> v2.CaseOutput:
    return v2.CaseOutput(size=max(cut.seen_bytes, kept) if cut else kept, kept=kept)
