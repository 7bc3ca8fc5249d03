"""The execute stage of a task with cases: once for each, in a work directory of its own.

Each case finds what the compile stage left and nothing of the cases before it: a program that
could leave itself a note would need to be right only once. So the work directory is copied when it
is made, and every case gets a fresh box with that copy in it.

What a case wrote is compared as a whole; of that, a bounded beginning is kept. The outputs of all
cases are one stream of bytes, in their order, because a task may have hundreds of small ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from khala.model.cases import Case
from khala.model.limits import CASE_OUTPUT_BYTES, CASE_OUTPUTS_BYTES
from khala.model.live import Section
from khala.model.outcome import (
    Bundle,
    CaseOutcome,
    Ending,
    Outcome,
    Reason,
    StageOutcome,
    StreamCut,
)
from khala.model.spec import Stage
from roles.executor.attempt import Attempt, about_the_task
from roles.executor.compare import Stopped
from roles.executor.judging import SKIPPED, Files, Judge, conclude
from roles.executor.left import LeftFiles, folder_of
from roles.executor.tree import Tree
from sandbox import Sandbox, offload

#: Files of the attempt's folder, written anew by each case.
_INPUT, _EXPECTED = "case.in", "case.expected"
_OUTPUTS = ("case.out", "case.err")
#: Work on more than this leaves the event loop for a thread.
_LARGE_BYTES = 256 * 1024
_SKIPPED = CaseOutcome(judgement=SKIPPED)


@dataclass(slots=True, kw_only=True)
class CaseRuns:
    """All cases of one attempt."""

    sandbox: Sandbox
    attempt: Attempt
    tree: Tree
    judge: Judge
    command: bytes
    #: The part `cases`: its bytes, or a file with them.
    content: bytes | Path
    left: LeftFiles
    #: How much of it is used.
    _at: int = 0
    _kept_bytes: int = 0
    _ended: list[CaseOutcome] = field(default_factory=list)

    async def run(self, compiled: StageOutcome | None) -> Outcome:
        """Raises what running a stage does."""
        spec = self.attempt.spec
        over = False
        for number, case in enumerate(spec.cases, 1):
            section = Section(Stage.EXECUTE, number)
            more = number < len(spec.cases)
            ended = None if over else await self._run_case(section, case, more=more)
            if self.attempt.cancel.is_set():
                return Outcome(ending=Ending.CANCELLED, reason=Reason.CANCELLED, compile=compiled)
            self._ended.append(ended or (_SKIPPED if spec.judged_by else CaseOutcome()))
            over = over or (spec.stop_on_first_failure and self._ended[-1].failed)
        executed = _sum_of([each.execute for each in self._ended if each.execute])
        outcome = Outcome(
            ending=Ending.SUCCEEDED if executed.ok else Ending.FAILED,
            reason=executed.reason,
            stage=Stage.EXECUTE,
            compile=compiled,
            execute=executed,
            cases=tuple(self._ended),
            note=executed.note,
        )
        return conclude(spec, outcome)

    async def _run_case(self, section: Section, case: Case, *, more: bool) -> CaseOutcome | None:
        """None if it was cancelled. `more` are to follow, whose boxes are made meanwhile."""
        folder = self.attempt.folder
        for name, size in ((_INPUT, case.stdin_bytes), (_EXPECTED, case.expect_bytes)):
            await self._write_next(folder / name, size)
        stdin = folder / _INPUT if case.stdin_bytes else None
        job = self.attempt.job(section, self.command, _OUTPUTS, stdin)
        async with self.sandbox.box(self.attempt.slot, another=more) as box:
            box.resize(*self.attempt.room)
            await self.tree.fill(box)
            executed = about_the_task(await box.run(job, self.attempt.cancel))
            await self.left.add(box, folder_of(section.case))
        kept = self._keep(section, executed)
        judgement = None
        if self.attempt.spec.judged_by is not None:
            files = Files(
                stdin=folder / _INPUT, expected=folder / _EXPECTED, actual=folder / _OUTPUTS[0]
            )
            try:
                judgement = await self.judge.judge(case, executed, files)
            except Stopped:
                return None
        return CaseOutcome(execute=kept, judgement=judgement)

    async def _write_next(self, path: Path, size: int) -> None:
        """The next bytes of the content as a file of their own."""
        content, at = self.content, self._at
        self._at += size
        if isinstance(content, bytes):
            path.write_bytes(content[at : at + size])
        elif size > _LARGE_BYTES:
            await offload(lambda _: _copy_part(content, at, size, path))
        else:
            _copy_part(content, at, size, path)

    def _keep(self, section: Section, executed: StageOutcome) -> StageOutcome:
        """Append the outputs to those of all cases, where the rest of them is shown from; say how
        much of them that was. The next case writes into the same files."""
        folder, first = self.attempt.folder, self._kept_bytes
        stdout, stdout_cut = self._keep_one(
            folder / _OUTPUTS[0], executed.stdout_bytes, executed.stdout_cut
        )
        stderr, stderr_cut = self._keep_one(
            folder / _OUTPUTS[1], executed.stderr_bytes, executed.stderr_cut
        )
        kept = msgspec.structs.replace(
            executed,
            stdout_bytes=stdout,
            stderr_bytes=stderr,
            stdout_cut=stdout_cut,
            stderr_cut=stderr_cut,
        )
        self.attempt.live.case_ended(section, kept, first)
        return kept

    def _keep_one(
        self, output: Path, size: int, cut: StreamCut | None
    ) -> tuple[int, StreamCut | None]:
        room = min(CASE_OUTPUT_BYTES, CASE_OUTPUTS_BYTES - self._kept_bytes)
        kept = size if size <= room else min(room, cut.gap_at if cut else room)
        if kept:
            target = self.attempt.folder / Bundle.CASES
            _copy_part(output, 0, kept, target, behind=self._kept_bytes)
        self._kept_bytes += kept
        if kept < size:
            cut = StreamCut(seen_bytes=cut.seen_bytes if cut else size, gap_at=kept)
        return kept, cut


def _copy_part(source: Path, at: int, size: int, target: Path, *, behind: int = 0) -> None:
    """To a file that has `behind` bytes already; a new one if there are none."""
    fresh = 0 if behind else os.O_TRUNC
    write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | fresh, 0o600)
    try:
        os.lseek(write, behind, os.SEEK_SET)
        with open(source, "rb") as read:
            while size > 0:
                copied = os.sendfile(write, read.fileno(), at, size)
                if copied == 0:
                    raise OSError(f"{source.name} is shorter than it should be")
                at, size = at + copied, size - copied
    finally:
        os.close(write)


def _sum_of(runs: list[StageOutcome]) -> StageOutcome:
    """What all runs used together, and the end of the first that did not end well."""
    decisive = next(
        (run for run in runs if not run.ok), StageOutcome(reason=Reason.OK, exit_code=0)
    )
    pids = [run.pids_peak for run in runs if run.pids_peak is not None]
    written = [run.written_bytes for run in runs if run.written_bytes is not None]
    return StageOutcome(
        reason=decisive.reason,
        exit_code=decisive.exit_code,
        signal=decisive.signal,
        limit=decisive.limit,
        observed=decisive.observed,
        note=decisive.note,
        wall_ms=sum(run.wall_ms for run in runs),
        cpu_user_ms=sum(run.cpu_user_ms for run in runs),
        cpu_system_ms=sum(run.cpu_system_ms for run in runs),
        memory_peak_bytes=max((run.memory_peak_bytes for run in runs), default=0),
        pids_peak=max(pids) if pids else None,
        written_bytes=sum(written) if written else None,
    )
