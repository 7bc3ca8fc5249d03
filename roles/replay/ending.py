"""How a task ended, in the words that a record and a replay of it have in common.

The record comes as the document of the API, the replay as the outcome of an executor. Both become
an `End` here; whatever is compared or shown afterwards does not know which one it came from.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from khala.model.cases import Score, Verdict
from khala.model.limits import CASE_OUTPUT_BYTES
from khala.model.live import Channel, stream_of
from khala.model.outcome import Bundle, CaseOutcome, Outcome, Reason, StageOutcome, StreamCut
from khala.model.spec import Stage
from khala.model.task import TaskState
from khala.protocol import v2
from sandbox.output import head_bytes


class Written(Struct, frozen=True, kw_only=True):
    """One output: as much of it as was kept, in a file."""

    #: Known to have been written.
    size: int
    #: Kept bytes that stand in the file as they were written, from the first on: up to the gap
    #: if there is one.
    beginning: int
    path: Path
    #: Where it begins in the file.
    first: int = 0

    @classmethod
    def of_file(cls, path: Path) -> Written:
        """All of it."""
        size = path.stat().st_size
        return cls(size=size, beginning=size, path=path)

    def open(self) -> BinaryIO:
        """At its first byte. Where nothing was kept there may be no file."""
        if not self.beginning:
            return io.BytesIO()
        file = open(self.path, "rb")  # noqa: SIM115 - its reader closes it
        file.seek(self.first)
        return file

    @property
    def whole(self) -> bool:
        return self.beginning == self.size


class Run(Struct, frozen=True, kw_only=True):
    """One program."""

    reason: Reason
    exit_code: int | None
    signal: int | None
    wall_ms: int
    cpu_ms: int
    memory_peak_bytes: int
    #: One sentence for people.
    message: str | None
    #: By its channel; of several cases together there are none.
    outputs: dict[Channel, Written] = {}


class CaseEnd(Struct, frozen=True, kw_only=True):
    number: int
    name: str
    verdict: Verdict | None
    #: None if it was not run.
    run: Run | None
    #: What its check had to say, or else its run.
    message: str | None = None


class End(Struct, frozen=True, kw_only=True):
    """The whole of it."""

    state: TaskState
    reason: Reason | None
    verdict: Verdict | None
    score: Score | None
    message: str | None
    #: By stage, those that were reached.
    runs: dict[Stage, Run]
    cases: tuple[CaseEnd, ...] = ()


def recorded_path(folder: Path, stage: Stage, channel: Channel, case: int = 0) -> Path:
    """Where an output of the record is put; a case counts from 1."""
    return folder / (f"case{case}_{channel}" if case else stream_of(stage, channel))


def recorded_end(task: v2.Task, cases: list[tuple[int, str]], folder: Path) -> End:
    """Of a task that has ended, and of these of its cases, with the outputs that are there in
    `folder`."""
    chosen = {number for number, _ in cases}
    stages = {Stage.COMPILE: task.stages.compile, Stage.EXECUTE: task.stages.execute}
    return End(
        state=task.state,
        reason=task.reason,
        verdict=task.verdict,
        score=Score(got=task.score.got, of=task.score.of) if task.score else None,
        message=task.message,
        runs={
            stage: _recorded_run(task, stage, each.result, folder)
            for stage, each in stages.items()
            if each.result is not None
        },
        cases=tuple(
            _recorded_case(task, case, folder) for case in task.cases if case.number in chosen
        ),
    )


def _recorded_run(task: v2.Task, stage: Stage, result: v2.Result, folder: Path) -> Run:
    written = {Channel.STDOUT: result.stdout, Channel.STDERR: result.stderr}
    several = stage is Stage.EXECUTE and task.cases
    return Run(
        reason=result.reason,
        exit_code=result.exit_code,
        signal=result.signal,
        wall_ms=result.wall_ms,
        cpu_ms=result.cpu_user_ms + result.cpu_system_ms,
        memory_peak_bytes=result.memory_peak_bytes,
        message=result.message,
        outputs={}
        if several
        else {
            channel: Written(
                size=output.size,
                beginning=output.gap.at if output.gap else output.kept,
                path=recorded_path(folder, stage, channel),
            )
            for channel, output in written.items()
            if recorded_path(folder, stage, channel).exists()
        },
    )


def _recorded_case(task: v2.Task, case: v2.Case, folder: Path) -> CaseEnd:
    run = None
    if case.reason is not None:
        limit = task.stages.execute.limits.output_bytes
        written = {Channel.STDOUT: case.stdout, Channel.STDERR: case.stderr}
        run = Run(
            reason=case.reason,
            exit_code=case.exit_code,
            signal=case.signal,
            wall_ms=case.wall_ms or 0,
            cpu_ms=case.cpu_ms or 0,
            memory_peak_bytes=case.memory_peak_bytes or 0,
            message=None,
            outputs={
                channel: Written(
                    size=output.size,
                    beginning=_beginning_of(output, limit),
                    path=recorded_path(folder, Stage.EXECUTE, channel, case.number),
                )
                for channel, output in written.items()
                if output is not None
            },
        )
    return CaseEnd(
        number=case.number,
        name=case.name,
        verdict=case.verdict,
        run=run,
        message=case.message,
    )


def _beginning_of(output: v2.CaseOutput, limit_bytes: int) -> int:
    """The list of cases does not say where a gap is: it is where the jail leaves one, or the
    beginning is all that was kept."""
    if output.size > output.kept == limit_bytes <= CASE_OUTPUT_BYTES:
        return head_bytes(limit_bytes)
    return output.kept


def replayed_end(outcome: Outcome, cases: list[tuple[int, str]], folder: Path) -> End:
    """`cases`: numbers and names of those that were to be run; `folder` is the attempt's."""
    judgement = outcome.judgement
    runs = {Stage.COMPILE: outcome.compile, Stage.EXECUTE: outcome.execute}
    return End(
        state=TaskState(outcome.ending),
        reason=outcome.reason,
        verdict=judgement.verdict if judgement else None,
        score=outcome.score,
        message=outcome.note,
        runs={
            stage: _replayed_run(stage, run, folder, several=bool(outcome.cases))
            for stage, run in runs.items()
            if run is not None
        },
        cases=tuple(_replayed_cases(outcome.cases, cases, folder)),
    )


def _replayed_run(stage: Stage, run: StageOutcome, folder: Path, *, several: bool) -> Run:
    if several and stage is Stage.EXECUTE:
        return _run_of(run, {})
    written = {
        Channel.STDOUT: (run.stdout_bytes, run.stdout_cut),
        Channel.STDERR: (run.stderr_bytes, run.stderr_cut),
    }
    outputs = {
        channel: _written(kept, cut, folder / stream_of(stage, channel))
        for channel, (kept, cut) in written.items()
    }
    return _run_of(run, outputs)


def _replayed_cases(
    ended: tuple[CaseOutcome, ...], cases: list[tuple[int, str]], folder: Path
) -> list[CaseEnd]:
    found, first, path = [], 0, folder / Bundle.CASES
    for (number, name), case in zip(cases, ended, strict=False):
        run = None
        if case.execute is not None:
            kept = case.execute
            stdout = _written(kept.stdout_bytes, kept.stdout_cut, path, first)
            first += kept.stdout_bytes
            stderr = _written(kept.stderr_bytes, kept.stderr_cut, path, first)
            first += kept.stderr_bytes
            run = _run_of(kept, {Channel.STDOUT: stdout, Channel.STDERR: stderr})
        found.append(
            CaseEnd(
                number=number,
                name=name,
                verdict=case.judgement.verdict if case.judgement else None,
                run=run,
                message=_message_of(case),
            )
        )
    return found


def _message_of(case: CaseOutcome) -> str | None:
    if case.judgement is not None and case.judgement.note is not None:
        return case.judgement.note
    return case.execute.note if case.execute else None


def _run_of(run: StageOutcome, outputs: dict[Channel, Written]) -> Run:
    return Run(
        reason=run.reason,
        exit_code=run.exit_code,
        signal=run.signal,
        wall_ms=run.wall_ms,
        cpu_ms=run.cpu_user_ms + run.cpu_system_ms,
        memory_peak_bytes=run.memory_peak_bytes,
        message=run.note,
        outputs=outputs,
    )


def _written(kept: int, cut: StreamCut | None, path: Path, first: int = 0) -> Written:
    if cut is None:
        return Written(size=kept, beginning=kept, path=path, first=first)
    size = max(cut.seen_bytes, kept)
    return Written(size=size, beginning=cut.gap_at, path=path, first=first)
