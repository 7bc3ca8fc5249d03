"""A checker: a program of the task that judges its outputs, in the jail.

It follows the conventions of testlib: three files as arguments (input, output, answer), an exit
code that is a verdict, and a message on standard error. It gets boxes of its own, so that the
program it judges can neither read nor change it, and one for each case, so that an output that
takes it over decides about one case and no other.

Whatever a checker does that is no verdict (it hangs, crashes, writes without end, answers
nonsense) makes the verdict `IE`: nobody knows.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from khala.model.cases import Case, Judgement, Verdict
from khala.model.limits import CASE_NOTE_BYTES, KIB
from khala.model.live import Section
from khala.model.outcome import Outcome, Reason, StageOutcome, Stream
from khala.model.spec import OnOutputLimit, Part, PartRef, Stage, TaskSpec
from roles.executor.attempt import Attempt, about_the_task
from roles.executor.building import Builder, as_bytes
from roles.executor.cache import Lookup
from roles.executor.compare import Stopped, cut_text
from roles.executor.live import LiveAttempt
from roles.executor.tree import NOT_COPIED, Tree, copy_tree
from sandbox import BadInput, Sandbox

#: In the checker's work directory; the order is that of the arguments.
_FILES = ("khala.input", "khala.output", "khala.answer")
_OUTPUTS = ("check.out", "check.err")
_OUTPUT_BYTES = 64 * KIB
#: For the checker's own files, beside those that it is given.
_ROOM_BYTES = 256 * KIB
_PARTIAL = 7
_FAILED = 3
_VERDICTS = {
    1: Verdict.WA,
    2: Verdict.PE,
    #: Something behind the answer.
    4: Verdict.PE,
    #: The output ended too early.
    8: Verdict.PE,
}
_POINTS = re.compile(rb"\s*points\s+(\d{1,9}(?:\.\d{1,9})?)(?:\s|\Z)")


class _Broken(Exception):
    """There is no checker to ask."""


class Checker:
    """Of one attempt; made when it is first asked."""

    def __init__(self, builder: Builder, sandbox: Sandbox, attempt: Attempt) -> None:
        self._builder = builder
        self._sandbox = sandbox
        self._task = attempt
        self._folder: Path | None = None
        self._tree: Tree | None = None
        self._command = b""
        self._broken: str | None = None

    def close(self) -> None:
        if self._tree is not None:
            self._tree.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def judge(self, weight: int, stdin: Path, expected: Path, actual: Path) -> Judgement:
        """Raises Stopped, and what running a stage does."""
        try:
            if self._tree is None:
                await self._make()
            executed = await self._run((stdin, actual, expected))
        except _Broken as error:
            self._broken = str(error)
            return _nobody_knows(str(error))
        except BadInput as error:
            return _nobody_knows(f"the checker's files: {error.message}")
        return self._verdict(executed, weight)

    # ---- making it --------------------------------------------------------------------------

    async def _make(self) -> None:
        if self._broken is not None:
            raise _Broken(self._broken)
        self._folder = Path(tempfile.mkdtemp(prefix="check-", dir=self._task.folder.parent))
        attempt = self._attempt(self._folder)
        self._tree = await self._builder.with_lookup(
            attempt, lambda lookup: self._build(attempt, lookup)
        )

    def _attempt(self, folder: Path) -> Attempt:
        """The checker as a task with cases, which it is like."""
        spec = self._task.spec
        limits = spec.check_limits or spec.execute_limits
        limits = structs.replace(
            limits, output_bytes=_OUTPUT_BYTES, on_output_limit=OnOutputLimit.TRUNCATE
        )
        return replace(
            self._task,
            folder=folder,
            on_progress=lambda *_: None,
            live=LiveAttempt(self._task.run, folder),  # which nobody is shown
            spec=TaskSpec(
                user=spec.user,
                compile_timeout_s=0,
                execute_timeout_s=0,
                compile_limits=spec.compile_limits,
                execute_limits=limits,
                parts=_parts_of(spec),
                image=spec.image,
                cache=spec.cache,
                cases=(Case(name=""),),
            ),
        )

    async def _build(self, attempt: Attempt, lookup: Lookup) -> Tree:
        journalled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        journalled.set_result(None)
        async with self._sandbox.box(attempt.slot) as box:
            built = await self._builder.build(attempt, lookup, box, journalled)
            if isinstance(built, Outcome):
                raise _Broken(_why_not_built(built, attempt.folder))
            tree = await copy_tree(attempt, box)
        if tree is None:
            raise _Broken(f"the checker: {NOT_COPIED}")
        # The three paths go to the command, or to the last one of a script.
        command = as_bytes(built.parts[Part.EXECUTE_COMMAND]).rstrip()
        self._command = b'set -- %s\n%s "$@"\n' % (" ".join(_FILES).encode(), command)
        return tree

    # ---- asking it --------------------------------------------------------------------------

    async def _run(self, files: tuple[Path, Path, Path]) -> StageOutcome:
        if self._tree is None or self._folder is None:
            raise _Broken("the checker was not made")
        attempt = self._attempt(self._folder)
        room_bytes, room_files = attempt.room
        size = sum(file.stat().st_size for file in files)
        async with self._sandbox.box(attempt.slot) as box:
            box.resize(room_bytes + size + _ROOM_BYTES, room_files + len(files))
            await self._tree.fill(box)
            for name, file in zip(_FILES, files, strict=True):
                await box.put(name, file)
            job = attempt.job(Section(Stage.EXECUTE), self._command, _OUTPUTS)
            return about_the_task(await box.run(job, attempt.cancel))

    def _verdict(self, executed: StageOutcome, weight: int) -> Judgement:
        if executed.reason is Reason.CANCELLED:
            raise Stopped
        said = self._said()
        note = cut_text(said.strip().splitlines()[0], CASE_NOTE_BYTES) if said.strip() else None
        if executed.ok:
            return Judgement(verdict=Verdict.AC, note=note)
        if executed.reason is not Reason.EXIT_NONZERO:
            return _nobody_knows(f"the checker was ended: {executed.note or executed.reason}")
        if executed.exit_code in _VERDICTS:
            return Judgement(verdict=_VERDICTS[executed.exit_code], note=note)
        if executed.exit_code == _PARTIAL:
            return _partial(said, weight, note)
        if executed.exit_code == _FAILED:
            return _nobody_knows(f"the checker failed: {note or 'it did not say why'}")
        return _nobody_knows(f"the checker's exit code {executed.exit_code} is no verdict")

    def _said(self) -> bytes:
        """On standard error, or else on standard output."""
        if self._folder is None:
            return b""
        for name in reversed(_OUTPUTS):
            said = (self._folder / name).read_bytes()
            if said.strip():
                return said
        return b""


def _parts_of(spec: TaskSpec) -> dict[Part, PartRef]:
    """Without sources of its own, a checker is among those of the task."""
    given = {
        Part.COMPILE_SOURCE: spec.parts.get(Part.CHECK_SOURCE),
        Part.COMPILE_COMMAND: spec.parts.get(Part.CHECK_COMPILE),
        Part.EXECUTE_COMMAND: spec.parts.get(Part.CHECK_COMMAND),
    }
    if Part.CHECK_SOURCE not in spec.parts:
        for part in (Part.COMPILE_SOURCE, Part.EXECUTE_DATA):
            given[part] = spec.parts.get(part)
    return {part: ref for part, ref in given.items() if ref is not None}


def _partial(said: bytes, weight: int, note: str | None) -> Judgement:
    found = _POINTS.match(said)
    if found is None:
        return _nobody_knows("the checker gave a part of the points and did not say how many")
    points = float(found[1])
    if points > weight:
        return _nobody_knows(f"the checker gave {points:g} points of {weight}")
    verdict = Verdict.AC if points == weight else Verdict.WA
    return Judgement(verdict=verdict, points=points, note=note)


def _why_not_built(outcome: Outcome, folder: Path) -> str:
    error = folder / Stream.COMPILE_ERROR
    said = error.read_bytes()[:_OUTPUT_BYTES].strip() if error.exists() else b""
    first = said.splitlines()[0].decode("utf-8", "replace") if said else ""
    return f"the checker was not built: {first or outcome.note or outcome.reason}"


def _nobody_knows(why: str) -> Judgement:
    return Judgement(verdict=Verdict.IE, note=cut_text(why.encode(), CASE_NOTE_BYTES))
