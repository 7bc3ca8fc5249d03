"""From a task's payload to a work directory in which its execute stage can run: fetch, unpack,
compile, or restore what an earlier compile stage made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import msgspec
import structlog

from khala.model.ids import TaskId
from khala.model.live import Section
from khala.model.outcome import CacheUse, Ending, Outcome, Reason, StageOutcome, Stream
from khala.model.spec import Network, Part, PartRef, Stage, TaskSpec
from khala.model.task import Progress
from roles.executor.attempt import Attempt, about_the_task, ended_by, unless_cancelled
from roles.executor.cache import CompileCache, Lookup, NotRestored
from roles.executor.cache_key import Surroundings, key_of
from sandbox import BadInput, Box, Sandbox

log = structlog.get_logger()

Answer = TypeVar("Answer")
_OUTPUTS = (Stream.COMPILE_OUTPUT, Stream.COMPILE_ERROR)
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


@dataclass(frozen=True, slots=True)
class Built:
    """The compile stage, if there is one, has ended well."""

    #: In memory if they came along, else in a file of ours.
    parts: dict[Part, bytes | Path]
    compiled: StageOutcome | None


class Builder:
    """Fills boxes of one sandbox."""

    def __init__(
        self, sandbox: Sandbox, parts: Parts, cache: CompileCache, surroundings: Surroundings
    ) -> None:
        self._sandbox = sandbox
        self._parts = parts
        self.cache = cache
        self._surroundings = surroundings

    @property
    def keeps_files(self) -> bool:
        """There is something that `drop_files` would remove."""
        return bool(self.cache.counts.entries or self._parts.size_bytes)

    async def drop_files(self) -> None:
        """The disk is nearly full: keep nothing that can be had again."""
        self._parts.clear()
        await self.cache.clear()

    async def with_lookup(
        self, attempt: Attempt, work: Callable[[Lookup], Awaitable[Answer]]
    ) -> Answer:
        """Do `work` with what the cache has; again without it if that could not be put back."""
        lookup = await self._look_up(attempt.spec)
        try:
            return await work(lookup)
        except NotRestored as error:
            log.warning("cache.not_restored", task=attempt.run[0], why=str(error))
            return await work(Lookup(CacheUse.MISS, lookup.key))
        finally:
            lookup.close()

    async def _look_up(self, spec: TaskSpec) -> Lookup:
        # What a stage fetched from a network is not the same tomorrow.
        cacheable = spec.compiles and spec.cache and spec.network is not Network.FULL
        if not (cacheable and self.cache.max_bytes):
            return Lookup(CacheUse.OFF)
        toolchain = await self._sandbox.toolchain_identity(spec.image)
        return await self.cache.look_up(key_of(spec, toolchain, self._surroundings))

    async def build(
        self, attempt: Attempt, lookup: Lookup, box: Box, journalled: Awaitable[None]
    ) -> Built | Outcome:
        """An outcome if the task ended before its execute stage. Raises NotRestored too."""
        but_not = _COMPILED if lookup.head is not None else frozenset[Part]()
        parts = await self._fetch(attempt, but_not)
        box.resize(*attempt.room)
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
            return ended_by(Stage.COMPILE, compiled, compiled)
        return Built(parts, compiled)

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
                    archive = as_file(parts[part], attempt.folder / f"{part}.part")
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
        command = as_bytes(parts[Part.COMPILE_COMMAND])
        job = attempt.job(Section(Stage.COMPILE), command, _OUTPUTS)
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


def _files_of(spec: TaskSpec) -> dict[Part, str]:
    """Each case has an input of its own, which comes as standard input alone."""
    return {part: name for part, name in _FILES.items() if not spec.cases or part is not _INPUT}


def as_file(content: bytes | Path, path: Path) -> Path:
    if isinstance(content, Path):
        return content
    path.write_bytes(content)
    return path


def as_bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()
