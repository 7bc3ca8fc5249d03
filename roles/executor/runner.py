"""One attempt from its payload to its outcome: build, execute, judge.

The attempt ends in one of three ways. An `Outcome` is a fact about the task and will be recorded.
`SandboxLost` says that the sandbox was destroyed from outside, so nobody knows how the task would
have ended: it is tried again elsewhere and counted as a crash. Any other `KhalaError` or `OSError`
is this host's own trouble (disk full, payload out of reach): given back without blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import msgspec

from khala.model.cases import Case
from khala.model.live import Section
from khala.model.outcome import Ending, Outcome, Reason, Stream
from khala.model.spec import Part, Stage
from khala.model.task import Progress
from roles.executor.attempt import Attempt, about_the_task, ended_by
from roles.executor.building import Builder, Built, Parts, as_bytes, as_file
from roles.executor.cache import CompileCache, Lookup
from roles.executor.cache_key import Surroundings
from roles.executor.cases import CaseRuns
from roles.executor.compare import Stopped
from roles.executor.judging import Files, Judge, conclude
from roles.executor.left import COMPILED, LeftFiles
from roles.executor.tree import copy_tree, not_copied
from sandbox import Box, Sandbox

_OUTPUTS = (Stream.EXECUTE_OUTPUT, Stream.EXECUTE_ERROR)


class Runner:
    """Runs attempts on one sandbox; the caller gives each a slot of its own."""

    def __init__(
        self,
        sandbox: Sandbox,
        parts: Parts,
        cache: CompileCache,
        surroundings: Surroundings,
    ) -> None:
        self._sandbox = sandbox
        self._builder = Builder(sandbox, parts, cache, surroundings)
        self.cache = cache

    def beat(self) -> None:
        """The loop turns."""
        self._sandbox.beat()

    @property
    def keeps_files(self) -> bool:
        """There is something that `drop_files` would remove."""
        return self._builder.keeps_files

    async def drop_files(self) -> None:
        """The disk is nearly full: keep nothing that can be had again."""
        await self._builder.drop_files()

    def choose(self, free: Collection[int]) -> int:
        """Of these slots, the one to give to the next attempt."""
        return self._sandbox.choose(free)

    async def run(self, attempt: Attempt) -> Outcome:
        """Raise `SandboxLost`, another `KhalaError` or `OSError` as the module says."""
        # The disk confirms the journal while the box is being filled.
        journalled = asyncio.ensure_future(attempt.journal(attempt.run))

        async def work(lookup: Lookup) -> Outcome:
            run = self._run_cases if attempt.spec.cases else self._run_once
            return await run(attempt, lookup, journalled)

        try:
            return await self._builder.with_lookup(attempt, work)
        finally:
            # Where something else failed first, nobody asks for its answer.
            journalled.add_done_callback(_ignore)
            journalled.cancel()

    async def _run_once(
        self, attempt: Attempt, lookup: Lookup, journalled: asyncio.Future[None]
    ) -> Outcome:
        """In a box of its own. Raises NotRestored too."""
        left = LeftFiles(attempt, self.cache.reserve)
        async with self._sandbox.box(attempt.slot) as box:
            built = await self._builder.build(attempt, lookup, box, journalled)
            if isinstance(built, Outcome):
                return await self._not_built(attempt, built, left, box)
            outcome = await self._execute(attempt, box, built)
            await left.add(box)
        return await self._judge(attempt, built, left.named_in(outcome))

    async def _run_cases(
        self, attempt: Attempt, lookup: Lookup, journalled: asyncio.Future[None]
    ) -> Outcome:
        """In a box for each. Raises NotRestored too."""
        left = LeftFiles(attempt, self.cache.reserve)
        async with self._sandbox.box(attempt.slot, another=True) as box:
            built = await self._builder.build(attempt, lookup, box, journalled)
            if isinstance(built, Outcome):
                return await self._not_built(attempt, built, left, box)
            await left.add(box, COMPILED)
            tree = await copy_tree(attempt, box)
        if tree is None:
            return not_copied(built.compiled)
        attempt.on_progress(attempt.run, Progress.RUNNING)
        content = built.parts.get(Part.CASES, b"")
        with tree, Judge(self._builder, self._sandbox, attempt) as judge:
            runs = CaseRuns(
                sandbox=self._sandbox,
                attempt=attempt,
                tree=tree,
                judge=judge,
                command=as_bytes(built.parts[Part.EXECUTE_COMMAND]),
                content=content,
                left=left,
            )
            return left.named_in(await runs.run(built.compiled))

    async def _not_built(
        self, attempt: Attempt, outcome: Outcome, left: LeftFiles, box: Box
    ) -> Outcome:
        """Ended before its execute stage."""
        outcome = conclude(attempt.spec, outcome)
        if outcome.compile is None:
            return outcome
        await left.add(box, COMPILED if attempt.spec.cases else b"")
        return left.named_in(outcome)

    async def _execute(self, attempt: Attempt, box: Box, built: Built) -> Outcome:
        spec, parts = attempt.spec, built.parts
        if not spec.executes:
            return Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK, compile=built.compiled)
        attempt.on_progress(attempt.run, Progress.RUNNING)
        stdin = None
        if Part.EXECUTE_INPUT in parts:
            stdin = _file_of(attempt, built, Part.EXECUTE_INPUT)
        command = as_bytes(parts[Part.EXECUTE_COMMAND])
        job = attempt.job(Section(Stage.EXECUTE), command, _OUTPUTS, stdin)
        executed = about_the_task(await box.run(job, attempt.cancel))
        attempt.live.ended(Section(Stage.EXECUTE), executed)
        if not executed.ok:
            return ended_by(Stage.EXECUTE, executed, built.compiled, executed)
        return Outcome(
            ending=Ending.SUCCEEDED,
            reason=Reason.OK,
            stage=Stage.EXECUTE,
            compile=built.compiled,
            execute=executed,
        )

    async def _judge(self, attempt: Attempt, built: Built, outcome: Outcome) -> Outcome:
        """Of a task with a single output."""
        executed = outcome.execute
        cancelled = outcome.reason is Reason.CANCELLED
        if attempt.spec.judged_by is None or executed is None or cancelled:
            return outcome
        files = Files(
            stdin=_file_of(attempt, built, Part.EXECUTE_INPUT),
            expected=_file_of(attempt, built, Part.EXECUTE_STANDARD),
            actual=attempt.folder / Stream.EXECUTE_OUTPUT,
        )
        only = Case(name="")
        try:
            with Judge(self._builder, self._sandbox, attempt) as judge:
                judgement = await judge.judge(only, executed, files)
        except Stopped:
            return outcome  # it was cancelled, and this is not recorded
        return conclude(attempt.spec, msgspec.structs.replace(outcome, judgement=judgement))


def _file_of(attempt: Attempt, built: Built, part: Part) -> Path:
    return as_file(built.parts.get(part, b""), attempt.folder / f"{part}.part")


def _ignore(journalled: asyncio.Future[None]) -> None:
    if not journalled.cancelled():
        journalled.exception()
