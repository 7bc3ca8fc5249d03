"""`POST /api/v2/tasks/{id}/rerun`: what may differ from the first time.

The differences are checked by the rules of a whole document: they are made one whose other fields
are the defaults, and what was given is taken out of the task that it becomes.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
from msgspec import Struct

from khala.model.spec import Network, OnOutputLimit, Part, Stage, StageLimits
from khala.protocol.rpc import SubmitTask
from khala.protocol.v2 import Issue
from roles.gateway.config import GatewayConfig
from roles.gateway.issues import Invalid
from roles.gateway.spec import (
    ArtifactsSpec,
    Command,
    ContentSpec,
    Crashes,
    Image,
    Keeping,
    Labels,
    LimitsSpec,
    Name,
    Predecessors,
    Priority,
    RetrySpec,
    StageSpec,
    StagesSpec,
    TaskSpecV2,
    User,
    Variables,
    Waiting,
)
from roles.gateway.spec_blobs import NO_BLOBS
from roles.gateway.spec_limits import fields_of
from roles.gateway.spec_task import TaskDocument, task_of_spec

COMMAND_OF = {Stage.COMPILE: Part.COMPILE_COMMAND, Stage.EXECUTE: Part.EXECUTE_COMMAND}
COMMANDS = frozenset(COMMAND_OF.values())


class StageOverrides(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not given stays; each limit by itself, variables all together."""

    command: Command | None = None
    limits: LimitsSpec = LimitsSpec()
    on_output_limit: OnOutputLimit | None = None
    env: Variables | None = None


class StagesOverrides(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By stage; one that the task did not have needs a command."""

    compile: StageOverrides | None = None
    execute: StageOverrides | None = None


class Overrides(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not given stays as it was. Fields mean what they mean in the document of a task."""

    stages: StagesOverrides = StagesOverrides()
    stdin: ContentSpec | None = None
    env: Variables | None = None
    user: User | None = None
    image: Image | None = None
    network: Network | None = None
    cache: Literal["auto", "off"] | None = None
    artifacts: ArtifactsSpec | None = None
    name: Name | None = None
    labels: Labels | None = None
    priority: Priority | None = None
    depends_on: Predecessors | None = None
    retry: RetrySpec | None = None
    max_crashes: Crashes | None = None
    queue_ttl_s: Waiting | None = None
    retention: Keeping | None = None


class RerunSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body."""

    overrides: Overrides = Overrides()


def overridden(task: SubmitTask, given: RerunSpec, config: GatewayConfig) -> SubmitTask:
    """Raise `Invalid` with every fault."""
    overrides = given.overrides
    stages = {Stage.COMPILE: overrides.stages.compile, Stage.EXECUTE: overrides.stages.execute}
    document: dict[str, Any] = {
        name: value
        for name in Overrides.__struct_fields__
        if name != "stages" and (value := getattr(overrides, name)) is not None
    }
    made = {stage: _stage(task, stage, each) for stage, each in stages.items() if each is not None}
    named = {stage.value: each for stage, each in made.items()}
    # A document has a stage; this one is looked at no further.
    document["stages"] = StagesSpec(**(named or {"execute": StageSpec(command="true")}))
    try:
        spec = TaskDocument(spec=TaskSpecV2(**document))
        checked = task_of_spec(spec, NO_BLOBS, config, "")
    except Invalid as error:
        raise Invalid([_within(issue) for issue in error.issues]) from error
    return _merge(task, checked, overrides)


def _stage(task: SubmitTask, stage: Stage, given: StageOverrides) -> StageSpec:
    there = COMMAND_OF[stage] in task.parts
    # An empty command is refused by the rules of the document.
    command = given.command if given.command is not None else "true" if there else ""
    return StageSpec(command=command, limits=given.limits, env=given.env or {})


def _within(issue: Issue) -> Issue:
    return msgspec.structs.replace(issue, pointer=f"/overrides{issue.pointer}")


def _merge(task: SubmitTask, checked: SubmitTask, overrides: Overrides) -> SubmitTask:
    changes: dict[str, Any] = {
        field: getattr(checked, field)
        for name, field in {
            "env": "environment",
            "user": "user",
            "image": "image",
            "network": "network",
            "cache": "cache",
            "artifacts": "artifacts",
            "name": "name",
            "labels": "labels",
            "priority": "priority",
            "depends_on": "depends_on",
            "retry": "retry",
            "max_crashes": "max_crashes",
            "queue_ttl_s": "queue_ttl_s",
            "retention": "retention_s",
        }.items()
        if getattr(overrides, name) is not None
    }
    parts, blobs = dict(task.parts), dict(task.blobs)
    if overrides.stdin is not None:
        blobs.pop(Part.EXECUTE_INPUT, None)
        parts[Part.EXECUTE_INPUT] = checked.parts.get(Part.EXECUTE_INPUT, b"")
    variables = dict(task.stage_environment)
    for stage, given in (
        (Stage.COMPILE, overrides.stages.compile),
        (Stage.EXECUTE, overrides.stages.execute),
    ):
        if given is None:
            continue
        if given.command is not None:
            parts[COMMAND_OF[stage]] = checked.parts[COMMAND_OF[stage]]
        if given.env is not None:
            variables[stage] = checked.stage_environment.get(stage, {})
        limits = _limits(stage, task, checked, given)
        changes[f"{stage}_limits"] = limits
        if given.limits.wall_s is not None:
            changes[f"{stage}_timeout_s"] = -(-limits.wall_ms // 1000)
    return msgspec.structs.replace(
        task, parts=parts, blobs=blobs, stage_environment=variables, **changes
    )


def _limits(
    stage: Stage, task: SubmitTask, checked: SubmitTask, given: StageOverrides
) -> StageLimits:
    before: StageLimits = getattr(task, f"{stage}_limits")
    wanted: StageLimits = getattr(checked, f"{stage}_limits")
    changes: dict[str, Any] = {
        field: getattr(wanted, field)
        for name, field in fields_of().items()
        if getattr(given.limits, name) is not None
    }
    if given.on_output_limit is not None:
        changes["on_output_limit"] = given.on_output_limit
    limits = msgspec.structs.replace(before, **changes)
    if {"wall_ms", "cpus"} & changes.keys() and "cpu_ms" not in changes:
        # As without a limit of its own: what fits into the wall time.
        limits = msgspec.structs.replace(limits, cpu_ms=math.ceil(limits.wall_ms * limits.cpus))
    return limits
