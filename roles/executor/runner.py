"""One attempt from its payload to its outcome: prepare, compile, execute, judge.

The attempt ends in one of three ways. An `Outcome` is a fact about the task and will be recorded.
`SandboxLost` says that the sandbox was destroyed from outside, so nobody knows how the task would
have ended: it is tried again elsewhere and counted as a crash. Any other `KhalaError` or `OSError`
is this host's own trouble (disk full, payload out of reach): given back without blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import structlog

from khala.model.ids import TaskId
from khala.model.live import Section
from khala.model.outcome import Bundle, CacheUse, Ending, Outcome, Reason, StageOutcome, Stream
from khala.model.spec import Part, PartRef, Stage, TaskSpec
from khala.model.task import Progress
from roles.executor.attempt import Attempt, about_the_task, ended_by, unless_cancelled
from roles.executor.cache import CompileCache, Lookup, NotRestored
from roles.executor.cache_key import Surroundings, key_of
from roles.executor.cases import CaseRuns, copy_tree, not_copied, room_for
from roles.executor.compare import Stopped
from roles.executor.judging import conclude, judge
from roles.executor.reserve import Reserve
from sandbox import BadInput, Box, Sandbox

log = structlog.get_logger()

_STREAMS = {
    Stage.COMPILE: (Stream.COMPILE_OUTPUT, Stream.COMPILE_ERROR),
    Stage.EXECUTE: (Stream.EXECUTE_OUTPUT, Stream.EXECUTE_ERROR),
}
#: Where KV2's tasks expect their files, beside the unpacked sources.
_FILES = {
    Part.COMPILE_COMMAND: "compile.sh",
    Part.EXECUTE_INPUT: "execute.in",
    Part.EXECUTE_COMMAND: "execute.sh",
}
_INPUT = Part.EXECUTE_INPUT
#: In the work directory while the compile stage runs, and no business of its.
_NOT_COMPILED = (Part.EXECUTE_INPUT, Part.EXECUTE_COMMAND)
#: What a restored box has already.
_COMPILED = frozenset({Part.COMPILE_SOURCE, Part.COMPILE_COMMAND, Part.EXECUTE_DATA})
#: Archives, and where they are unpacked below the working directory.
_ARCHIVES: tuple[tuple[Part, Literal["", "data"]], ...] = (
    (Part.COMPILE_SOURCE, ""),
    (Part.EXECUTE_DATA, "data"),
)


class Parts(Protocol):
    """Has the payload parts that did not travel with the assignment."""

    @property
    def size_bytes(self) -> int: ...
    def clear(self) -> None: ...
    async def place(self, task: TaskId, part: Part, ref: PartRef, path: Path) -> None: ...


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
        self._parts = parts
        self.cache = cache
        self._surroundings = surroundings

    def beat(self) -> None:
        """The loop turns."""
        self._sandbox.beat()

    @property
    def keeps_files(self) -> bool:
        """There is something that `drop_files` would remove."""
        return bool(self.cache.counts.entries or self._parts.size_bytes)

    async def drop_files(self) -> None:
        """The disk is nearly full: keep nothing that can be had again."""
        self._parts.clear()
        await self.cache.clear()

    def choose(self, free: Collection[int]) -> int:
        """Of these slots, the one to give to the next attempt."""
        return self._sandbox.choose(free)

    async def run(self, attempt: Attempt) -> Outcome:
        """Raise `SandboxLost`, another `KhalaError` or `OSError` as the module says."""
        # The disk confirms the journal while the box is being filled.
        journalled = asyncio.ensure_future(attempt.journal(attempt.run))
        try:
            lookup = await self._look_up(attempt.spec)
            try:
                return await self._run(attempt, lookup, journalled)
            except NotRestored as error:
                log.warning("cache.not_restored", task=attempt.run[0], why=str(error))
                return await self._run(attempt, Lookup(CacheUse.MISS, lookup.key), journalled)
            finally:
                lookup.close()
        finally:
            # Where something else failed first, nobody asks for its answer.
            journalled.add_done_callback(_ignore)
            journalled.cancel()

    async def _look_up(self, spec: TaskSpec) -> Lookup:
        if not (spec.compiles and spec.cache and self.cache.max_bytes):
            return Lookup(CacheUse.OFF)
        toolchain = await self._sandbox.toolchain_identity(spec.image)
        return await self.cache.look_up(key_of(spec, toolchain, self._surroundings))

    async def _run(
        self, attempt: Attempt, lookup: Lookup, journalled: asyncio.Future[None]
    ) -> Outcome:
        """In a box of its own. Raises NotRestored too."""
        but_not = _COMPILED if lookup.head is not None else frozenset[Part]()
        parts = await self._fetch(attempt, but_not)
        async with self._sandbox.box(attempt.slot) as box:
            box.resize(*room_for(attempt.spec))
            compiled: StageOutcome | None = None
            if lookup.head is not None:
                compiled = await self.cache.restore(lookup, box, attempt.folder)
                attempt.live.ended(Section(Stage.COMPILE), compiled)
            refused = await self._prepare(attempt, box, parts, but_not)
            if refused is not None:
                return refused
            await journalled
            if compiled is None and attempt.spec.compiles:
                compiled = await self._compile(attempt, lookup, box, parts)
            if compiled is not None and not compiled.ok:
                outcome = ended_by(Stage.COMPILE, compiled, compiled)
                return await _collect(
                    self.cache.reserve, attempt, box, conclude(attempt.spec, outcome)
                )
            if not attempt.spec.cases:
                outcome = await self._execute(attempt, box, parts, compiled)
                return await _collect(self.cache.reserve, attempt, box, outcome)
            tree = await copy_tree(attempt, box)
        if tree is None:
            return not_copied(compiled)
        attempt.on_progress(attempt.run, Progress.RUNNING)
        command, content = _as_bytes(parts[Part.EXECUTE_COMMAND]), parts.get(Part.CASES, b"")
        try:
            return await CaseRuns(self._sandbox, attempt, tree, command, content).run(compiled)
        finally:
            tree.close()

    async def _fetch(self, attempt: Attempt, but_not: frozenset[Part]) -> dict[Part, bytes | Path]:
        """The parts, in memory if they came along, else in a file of ours."""
        parts: dict[Part, bytes | Path] = {}
        for part, ref in attempt.spec.parts.items():
            if part in but_not:
                continue
            if ref.inline is not None:
                parts[part] = ref.inline
                continue
            path = attempt.folder / f"{part}.part"
            await self._parts.place(attempt.run[0], part, ref, path)
            parts[part] = path
        return parts

    async def _prepare(
        self,
        attempt: Attempt,
        box: Box,
        parts: dict[Part, bytes | Path],
        but_not: frozenset[Part],
    ) -> Outcome | None:
        """Fill the work dir; an archive that cannot be unpacked ends the task."""
        try:
            for part, into in _ARCHIVES:
                if part in parts:
                    archive = _as_file(parts[part], attempt.folder / f"{part}.part")
                    await box.unpack(archive, into)
            for part, name in _files_of(attempt.spec).items():
                if part not in but_not:
                    await box.put(name, parts.get(part, b""))
        except BadInput as error:
            return Outcome(
                ending=Ending.ERROR,
                reason=Reason.BAD_INPUT,
                note=f"{part}: {error.message}",
            )
        return None

    async def _compile(
        self, attempt: Attempt, lookup: Lookup, box: Box, parts: dict[Part, bytes | Path]
    ) -> StageOutcome:
        attempt.on_progress(attempt.run, Progress.COMPILING)
        command = _as_bytes(parts[Part.COMPILE_COMMAND])
        job = attempt.job(Stage.COMPILE, command, _STREAMS[Stage.COMPILE])
        missed = lookup.use is CacheUse.MISS
        if missed:
            files = _files_of(attempt.spec)
            lookup.witnesses = [box.watch(files[part]) for part in _NOT_COMPILED if part in files]
        another = attempt.spec.executes and not attempt.spec.cases
        compiled = about_the_task(await box.run(job, attempt.cancel, another=another))
        attempt.live.ended(Section(Stage.COMPILE), compiled)
        if missed and compiled.ok:
            keeping = self.cache.keep(lookup, box, attempt.folder, compiled)
            await unless_cancelled(keeping, attempt.cancel)
        return msgspec.structs.replace(compiled, cache=lookup.use)

    async def _execute(
        self,
        attempt: Attempt,
        box: Box,
        parts: dict[Part, bytes | Path],
        compiled: StageOutcome | None,
    ) -> Outcome:
        spec = attempt.spec
        if not spec.executes:
            return Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK, compile=compiled)
        attempt.on_progress(attempt.run, Progress.RUNNING)
        stdin = None
        if Part.EXECUTE_INPUT in parts:
            path = attempt.folder / f"{Part.EXECUTE_INPUT}.part"
            stdin = _as_file(parts[Part.EXECUTE_INPUT], path)
        command = _as_bytes(parts[Part.EXECUTE_COMMAND])
        job = attempt.job(Stage.EXECUTE, command, _STREAMS[Stage.EXECUTE], stdin)
        executed = about_the_task(await box.run(job, attempt.cancel))
        attempt.live.ended(Section(Stage.EXECUTE), executed)
        if executed.ok:
            outcome = Outcome(
                ending=Ending.SUCCEEDED,
                reason=Reason.OK,
                stage=Stage.EXECUTE,
                compile=compiled,
                execute=executed,
            )
        else:
            outcome = ended_by(Stage.EXECUTE, executed, compiled, executed)
        return await self._judge(attempt, outcome, executed, parts)

    async def _judge(
        self,
        attempt: Attempt,
        outcome: Outcome,
        executed: StageOutcome,
        parts: dict[Part, bytes | Path],
    ) -> Outcome:
        check = attempt.spec.judged_by
        if check is None or executed.reason is Reason.CANCELLED:
            return outcome
        standard = parts.get(Part.EXECUTE_STANDARD, b"")
        expected = _as_file(standard, attempt.folder / f"{Part.EXECUTE_STANDARD}.part")
        actual = attempt.folder / Stream.EXECUTE_OUTPUT
        try:
            judgement = await judge(check, executed, expected, actual, attempt.cancel.is_set)
        except Stopped:
            return outcome  # it was cancelled, and this is not recorded
        return conclude(attempt.spec, msgspec.structs.replace(outcome, judgement=judgement))


async def _collect(reserve: Reserve, attempt: Attempt, box: Box, outcome: Outcome) -> Outcome:
    """Of a task that failed too: what it left may say why. Nobody waits for a cancelled one's."""
    request = attempt.spec.artifacts
    if request is None or outcome.reason is Reason.CANCELLED:
        return outcome
    async with reserve.awaited(request.max_bytes):
        collecting = box.collect(request, attempt.folder / Bundle.ARTIFACTS)
        artifacts = await unless_cancelled(collecting, attempt.cancel)
    return msgspec.structs.replace(outcome, artifacts=artifacts)


def _files_of(spec: TaskSpec) -> dict[Part, str]:
    """Each case has an input of its own, which comes as standard input alone."""
    return {part: name for part, name in _FILES.items() if not spec.cases or part is not _INPUT}


def _ignore(journalled: asyncio.Future[None]) -> None:
    if not journalled.cancelled():
        journalled.exception()


def _as_file(content: bytes | Path, path: Path) -> Path:
    if isinstance(content, Path):
        return content
    path.write_bytes(content)
    return path


def _as_bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()
