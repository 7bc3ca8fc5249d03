"""Fetching all that a task was given, and all that came of it, into a folder of this machine.

Nothing is asked of the cluster any more once this is done: how long the replay takes, and whether
the cluster is still there at its end, makes no difference.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.client import AsyncKhala
from khala.client.logs import StreamName
from khala.model.cases import Case, Check
from khala.model.errors import NotDone, NotFound
from khala.model.ids import AttemptNo, TaskId
from khala.model.live import Channel
from khala.model.spec import Member, Part, PartRef, Stage, TaskSpec
from khala.protocol import v2
from khala.protocol.executor import Run
from roles.executor.parts import receive
from roles.replay.ending import recorded_path

_COPY_BYTES = 1 << 20
_NAMES: dict[Channel, StreamName] = {Channel.STDOUT: "stdout", Channel.STDERR: "stderr"}


class Pulled(Struct, frozen=True, kw_only=True):
    """A task that has ended, as far as a replay needs it."""

    task: v2.Task
    #: As an executor was given it.
    spec: TaskSpec
    #: Parts by their names, and in `recorded` what the task wrote.
    folder: Path
    #: Numbers and names of the cases to be run.
    cases: list[tuple[int, str]]

    @property
    def run(self) -> Run:
        """The attempt whose result is the recorded one: programs can read its number."""
        return (TaskId(self.task.id), AttemptNo(self.task.attempt))

    @property
    def recorded(self) -> Path:
        return self.folder / "recorded"

    @property
    def size_bytes(self) -> int:
        return 0

    def clear(self) -> None:
        """Nothing here can be had again."""

    async def place(self, task: TaskId, part: Part, ref: PartRef, path: Path) -> None:
        """As `roles.executor.building.Parts` says. What is the source of a checker has another
        name among the parts of its task."""
        parts = self.spec.parts
        if parts.get(part) != ref:
            part = next(name for name, each in parts.items() if each == ref)
        os.link(self.folder / part, path)


async def pull(khala: AsyncKhala, task: v2.Task, folder: Path, case: int | None) -> Pulled:
    """Raise NotDone, NotFound for a case that there is not, Unavailable, OSError."""
    if not task.done:
        raise NotDone(
            f"task {task.id} is {task.state}: there is no end yet to compare with; see"
            " khala.pex wait"
        )
    if task.started_at is None:
        raise NotDone(f"task {task.id} ended before it began: there is nothing to compare with")
    if case is not None and case > len(task.cases):
        has = f"cases 1 to {len(task.cases)}" if task.cases else "no cases"
        raise NotFound(f"--case: task {task.id} has {has}, {case} was given", field="--case")
    inputs = await khala.get_inputs(task.id)
    spec = spec_of(task, inputs)
    for file in inputs.files:
        async with khala.open_input(file) as pieces:
            await receive(pieces, spec.parts[file.name], folder / file.name)
    pulled = Pulled(
        task=task,
        spec=spec,
        folder=folder,
        cases=[(each.number, each.name) for each in task.cases],
    )
    if case is not None:
        pulled = _only(pulled, case)
    pulled.recorded.mkdir()
    await _pull_outputs(khala, pulled)
    return pulled


def spec_of(task: v2.Task, inputs: v2.TaskInputs) -> TaskSpec:
    """What an executor was given. Files that the task leaves are not compared, so none are
    collected; what a cache remembers is no replay."""
    compiling, executing = task.stages.compile, task.stages.execute
    check = task.check
    place = task.job
    return TaskSpec(
        user=task.user,
        compile_timeout_s=compiling.timeout_s,
        execute_timeout_s=executing.timeout_s,
        compile_limits=compiling.limits,
        execute_limits=executing.limits,
        stage_environment={Stage.COMPILE: compiling.env, Stage.EXECUTE: executing.env},
        image=task.image,
        network=task.network,
        cache=False,
        cases=tuple(
            Case(
                name=case.name,
                stdin_bytes=given.stdin,
                expect_bytes=given.expected,
                weight=case.weight,
            )
            for case, given in zip(task.cases, inputs.cases, strict=True)
        ),
        check=Check(mode=check.mode, absolute=check.absolute or 0.0, relative=check.relative or 0.0)
        if check
        else None,
        check_limits=inputs.check_limits,
        stop_on_first_failure=task.stop_on_first_failure,
        parts={
            file.name: PartRef(size_bytes=file.size, sha256=file.sha256) for file in inputs.files
        },
        member=Member(job=place.id, index=place.index, entry=inputs.entry) if place else None,
    )


def _only(pulled: Pulled, number: int) -> Pulled:
    """Of its cases this one alone: its bytes are cut out of the part that has those of all."""
    cases = pulled.spec.cases
    first = sum(case.stdin_bytes + case.expect_bytes for case in cases[: number - 1])
    chosen = cases[number - 1]
    path = pulled.folder / Part.CASES
    if path.exists():
        draft = path.with_suffix(".new")
        with open(path, "rb") as source, open(draft, "wb") as target:
            source.seek(first)
            left = chosen.stdin_bytes + chosen.expect_bytes
            while piece := source.read(min(left, _COPY_BYTES)):
                target.write(piece)
                left -= len(piece)
        draft.rename(path)
    return msgspec.structs.replace(
        pulled,
        spec=msgspec.structs.replace(pulled.spec, cases=(chosen,)),
        cases=[(number, chosen.name)],
    )


async def _pull_outputs(khala: AsyncKhala, pulled: Pulled) -> None:
    """Those of the task, or of its cases. What the cluster has not kept has no file."""
    task, folder = pulled.task, pulled.recorded
    stages = {Stage.COMPILE: task.stages.compile, Stage.EXECUTE: task.stages.execute}
    for stage, each in stages.items():
        if each.result is None or (stage is Stage.EXECUTE and task.cases):
            continue
        for channel, name in _NAMES.items():
            with suppress(NotFound):  # nothing is kept of a task that was cancelled
                opened = khala.open_output(task.id, name, stage)
                await _save(opened, recorded_path(folder, stage, channel))
    for number, _ in pulled.cases:
        case = task.cases[number - 1]
        for channel, output in ((Channel.STDOUT, case.stdout), (Channel.STDERR, case.stderr)):
            if output is not None and output.kept:
                opened = khala.open_case_output(task.id, number, _NAMES[channel])
                await _save(opened, recorded_path(folder, Stage.EXECUTE, channel, number))


async def _save(opened: AbstractAsyncContextManager[AsyncIterator[bytes]], path: Path) -> None:
    async with opened as pieces:
        with open(path, "wb") as file:
            async for piece in pieces:
                file.write(piece)
