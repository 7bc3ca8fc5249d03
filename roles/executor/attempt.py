"""What an attempt is given, and how one of its commands becomes a job of the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from khala.model.live import Section
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome
from khala.model.spec import Stage, StageLimits, TaskSpec
from khala.model.task import Progress
from khala.protocol.executor import Run
from roles.executor.live import LiveAttempt
from roles.executor.variables import variables_of
from sandbox import Job, SandboxLost

Result = TypeVar("Result")

#: Endings that say nothing about the program: the attempt is repeated, at most CRASH_LIMIT times.
_NOT_THE_TASKS = frozenset({Reason.SETUP_FAILED, Reason.INTERNAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What the runner is given."""

    run: Run
    spec: TaskSpec
    slot: int
    #: Outputs are written here, one file per stream.
    folder: Path
    on_progress: Callable[[Run, Progress], None]
    #: Puts the attempt into the started-journal (R1); awaited before its first process.
    journal: Callable[[Run], Awaitable[None]]
    #: Shows what its programs write while they write it.
    live: LiveAttempt
    cancel: asyncio.Event
    #: What is left to what runs then, from SIGTERM to its end.
    grace_s: Callable[[], float] | None = None

    def job(
        self, section: Section, command: bytes, outputs: tuple[str, str], stdin: Path | None = None
    ) -> Job:
        """`outputs` are names of files in the attempt's folder."""
        stage = section.stage
        return Job(
            command=command,
            stage=stage,
            limits=self._limits(stage),
            image=self.spec.image,
            network=self.spec.network,
            stdin=str(stdin) if stdin else None,
            stdout=str(self.folder / outputs[0]),
            stderr=str(self.folder / outputs[1]),
            environment={
                **self.spec.environment_of(stage),
                **variables_of(self.run, self.spec, section),
            },
            on_start=partial(self.live.began, section),
            grace_s=self.grace_s,
        )

    @property
    def room(self) -> tuple[int, int]:
        """Bytes and files of the work directory, which both stages share."""
        return room_of(self.spec)

    def _limits(self, stage: Stage) -> StageLimits:
        spec = self.spec
        return spec.compile_limits if stage is Stage.COMPILE else spec.execute_limits


def room_of(spec: TaskSpec) -> tuple[int, int]:
    """Bytes and files of the work directory."""
    limits = (spec.compile_limits, spec.execute_limits)
    return max(each.disk_bytes for each in limits), max(each.disk_files for each in limits)


async def unless_cancelled(
    work: Coroutine[Any, Any, Result], cancel: asyncio.Event
) -> Result | None:
    """Its result; None, and it has ended, if the attempt is cancelled meanwhile."""

    async def watch() -> None:
        await cancel.wait()
        doing.cancel()

    doing = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.wait([doing])
        return None if doing.cancelled() else doing.result()
    finally:
        watching.cancel()
        doing.cancel()  # where the executor itself is ended
        await asyncio.wait([doing])


def about_the_task(outcome: StageOutcome) -> StageOutcome:
    """Raise SandboxLost for an ending that says nothing about the program."""
    if outcome.reason in _NOT_THE_TASKS:
        raise SandboxLost(outcome.note)
    return outcome


def ended_by(
    stage: Stage,
    decisive: StageOutcome,
    compiled: StageOutcome | None,
    executed: StageOutcome | None = None,
) -> Outcome:
    """Failed in `stage`."""
    return Outcome(
        ending=Ending.FAILED,
        reason=decisive.reason,
        stage=stage,
        compile=compiled,
        execute=executed,
        note=decisive.note,
    )
