"""From the document of `POST /api/v2/tasks` to a task: every value checked, all faults told."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from khala.config.values import Kind
from khala.model.cases import CheckMode
from khala.model.errors import Rejected
from khala.model.globs import Globs
from khala.model.limits import (
    ARTIFACT_BYTES,
    ARTIFACT_DEFAULT_BYTES,
    ARTIFACT_FILES,
    ARTIFACT_GLOBS,
    ENVIRONMENT_BYTES,
    ENVIRONMENT_NAME_CHARS,
    ENVIRONMENT_VARIABLES,
    GLOB_CHARS,
    IMAGE_LABEL_CHARS,
)
from khala.model.order import PRIORITY_MAX
from khala.model.spec import ArtifactRequest, OnOutputLimit, Part, Stage, StageLimits
from khala.protocol.rpc import SubmitTask
from khala.protocol.v2 import IssueCode
from roles.gateway.config import GatewayConfig
from roles.gateway.issues import Issues, step
from roles.gateway.spec import ArtifactsSpec, LimitsSpec, StageSpec, TaskSpecV2, Variables
from roles.gateway.spec_blobs import KnownBlobs
from roles.gateway.spec_cases import check_cases, check_command
from roles.gateway.spec_depends import check_predecessors
from roles.gateway.spec_files import Content, Files
from roles.gateway.spec_limits import check_limits, check_range, read_amount
from roles.gateway.spec_order import check_labels, check_name, check_wants
from roles.gateway.spec_tries import (
    check_max_crashes,
    check_queue_ttl,
    check_retention,
    check_retry,
)
from roles.gateway.submission import INTEGER_MAX

_VARIABLE = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{ENVIRONMENT_NAME_CHARS - 1}}}\Z")
_RESERVED = "KHALA_"
_IMAGE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{IMAGE_LABEL_CHARS - 1}}}\Z")
_COMMANDS = {Stage.COMPILE: Part.COMPILE_COMMAND, Stage.EXECUTE: Part.EXECUTE_COMMAND}


def task_of_spec(
    document: TaskDocument, blobs: KnownBlobs, config: GatewayConfig, key: str
) -> SubmitTask:
    """Raise `Invalid` with every fault."""
    return _Check(document.parts, blobs, config).task(document.spec, key)


class TaskDocument(Struct, frozen=True, kw_only=True):
    """A document, and the parts of the multipart body that it came in, by name."""

    spec: TaskSpecV2
    parts: Mapping[str, bytes] = {}


class _Check:
    """One request on its way."""

    def __init__(
        self, parts: Mapping[str, bytes], blobs: KnownBlobs, config: GatewayConfig
    ) -> None:
        self._config = config
        self._issues = Issues()
        self._files = Files(parts, blobs, self._issues)

    def task(self, spec: TaskSpecV2, key: str) -> SubmitTask:
        user = spec.user or 0
        check_range(user, 0, INTEGER_MAX, "/user", self._issues)
        given = self._stages(spec)
        given_parts = self._parts(spec, given)
        cases = check_cases(spec, self._files, self._issues)
        given_parts |= cases.parts
        self._files.check_parts_used()
        limits = {stage: self._limits(stage, given.get(stage)) for stage in Stage}
        environment = self._environment(spec.env, "/env")
        of_stages = {
            stage: self._environment(each.env, f"/stages/{stage}/env")
            for stage, each in given.items()
            if each.env
        }
        self._check_environment_size(environment, of_stages)
        self._check_image(spec.image)
        check_name(spec.name, self._issues)
        labels = check_labels(spec.labels, "/labels", self._issues)
        wants = check_wants(spec, self._issues)
        check_range(spec.priority, -PRIORITY_MAX, PRIORITY_MAX, "/priority", self._issues)
        artifacts = self._artifacts(spec.artifacts)
        limits_of_check = self._check_limits(spec)
        depends_on = check_predecessors(spec.depends_on, self._issues)
        retry = check_retry(spec.retry, self._issues)
        max_crashes = check_max_crashes(spec.max_crashes, self._issues)
        queue_ttl_s = check_queue_ttl(spec.queue_ttl_s, self._issues)
        retention_s = check_retention(spec.retention, self._issues)
        self._issues.raise_if_any()
        return SubmitTask(
            user=user,
            compile_timeout_s=_timeout_s(given.get(Stage.COMPILE), limits[Stage.COMPILE]),
            execute_timeout_s=_timeout_s(given.get(Stage.EXECUTE), limits[Stage.EXECUTE]),
            compile_limits=limits[Stage.COMPILE],
            execute_limits=limits[Stage.EXECUTE],
            parts={part: each for part, each in given_parts.items() if isinstance(each, bytes)},
            blobs={part: each for part, each in given_parts.items() if isinstance(each, str)},
            environment=environment,
            stage_environment=of_stages,
            image=spec.image,
            network=spec.network,
            cache=spec.cache == "auto",
            artifacts=artifacts,
            name=spec.name,
            labels=labels,
            priority=spec.priority,
            cases=cases.cases,
            check=cases.check,
            check_limits=limits_of_check,
            stop_on_first_failure=spec.stop_on_first_failure,
            wants=wants,
            depends_on=depends_on,
            retry=retry,
            max_crashes=max_crashes,
            queue_ttl_s=queue_ttl_s,
            retention_s=retention_s,
            held=spec.held,
            key=key,
        )

    def _stages(self, spec: TaskSpecV2) -> dict[Stage, StageSpec]:
        stages = {Stage.COMPILE: spec.stages.compile, Stage.EXECUTE: spec.stages.execute}
        given = {stage: each for stage, each in stages.items() if each is not None}
        if not given:
            detail = "a task has a compile or an execute stage"
            self._issues.add("/stages", IssueCode.MISSING_FIELD, detail)
        return given

    def _parts(self, spec: TaskSpecV2, given: Mapping[Stage, StageSpec]) -> dict[Part, Content]:
        """Those of the document, but for its cases."""
        parts: dict[Part, Content] = {
            Part.COMPILE_SOURCE: self._files.archive(spec.sources, "/sources"),
            Part.EXECUTE_DATA: self._files.archive(spec.data, "/data"),
            Part.EXECUTE_INPUT: self._files.whole(spec.stdin, "/stdin"),
            Part.EXECUTE_STANDARD: self._files.whole(
                spec.expect.stdout if spec.expect else None, "/expect/stdout"
            ),
        }
        for stage, each in given.items():
            parts[_COMMANDS[stage]] = self._command(stage, each)
        return parts

    def _command(self, stage: Stage, given: StageSpec) -> bytes:
        return check_command(given.command, f"/stages/{stage}/command", self._issues)

    def _limits(self, stage: Stage, given: StageSpec | None) -> StageLimits:
        config = self._config
        defaults = config.compile if stage is Stage.COMPILE else config.execute
        asked = given.limits if given else LimitsSpec()
        limits = check_limits(asked, f"/stages/{stage}/limits", defaults, config, self._issues)
        action = given.on_output_limit if given else OnOutputLimit.STOP
        return msgspec.structs.replace(limits, on_output_limit=action)

    def _check_limits(self, spec: TaskSpecV2) -> StageLimits | None:
        if spec.check is None or spec.check.mode is not CheckMode.PROGRAM:
            return None
        config, asked = self._config, spec.check.limits
        return check_limits(asked, "/check/limits", config.execute, config, self._issues)

    def _environment(self, given: Variables, pointer: str) -> dict[str, str]:
        checked: dict[str, str] = {}
        for name, value in given.items():
            at = pointer + step(name[: ENVIRONMENT_NAME_CHARS + 1])
            if not _VARIABLE.match(name):
                detail = (
                    f"a variable's name is 1 to {ENVIRONMENT_NAME_CHARS} of A-Z, a-z, 0-9 and _,"
                    " and does not begin with a digit"
                )
                self._issues.add(at, IssueCode.INVALID_VALUE, detail, given=name)
            elif name.startswith(_RESERVED):
                detail = f"names that begin with {_RESERVED} are Khala's own"
                self._issues.add(at, IssueCode.INVALID_VALUE, detail, given=name)
            elif not isinstance(value, str):
                detail = 'the value of a variable is a text; write "1", not 1'
                self._issues.add(at, IssueCode.WRONG_TYPE, detail, given=value)
            elif "\0" in value:
                detail = "a variable's value cannot hold the character NUL"
                self._issues.add(at, IssueCode.INVALID_VALUE, detail)
            elif len(value.encode()) > ENVIRONMENT_BYTES:
                size = len(value.encode())
                detail = f"{size} bytes are more than {ENVIRONMENT_BYTES}; put it into a file"
                self._issues.add(
                    at, IssueCode.TOO_LONG, detail, limit=ENVIRONMENT_BYTES, given=size
                )
            else:
                checked[name] = value
        return checked

    def _check_environment_size(
        self, both: dict[str, str], of_stages: dict[Stage, dict[str, str]]
    ) -> None:
        for pointer, variables in [
            ("/env", both),
            *((f"/stages/{stage}/env", {**both, **each}) for stage, each in of_stages.items()),
        ]:
            size = sum(len(name) + len(value.encode()) + 2 for name, value in variables.items())
            if len(variables) > ENVIRONMENT_VARIABLES:
                detail = f"{len(variables)} variables are more than {ENVIRONMENT_VARIABLES}"
                self._issues.add(
                    pointer,
                    IssueCode.TOO_MANY,
                    detail,
                    limit=ENVIRONMENT_VARIABLES,
                    given=len(variables),
                )
            if size > ENVIRONMENT_BYTES:
                detail = (
                    f"the variables have {size} bytes, more than {ENVIRONMENT_BYTES}; put large"
                    " values into a file"
                )
                self._issues.add(
                    pointer, IssueCode.TOO_LONG, detail, limit=ENVIRONMENT_BYTES, given=size
                )

    def _check_image(self, label: str) -> None:
        if label and not _IMAGE.match(label):
            detail = f"a label is 1 to {IMAGE_LABEL_CHARS} letters, digits, '.', '_' and '-'"
            code = IssueCode.INVALID_VALUE
            limit = IMAGE_LABEL_CHARS if len(label) > IMAGE_LABEL_CHARS else None
            self._issues.add("/image", code, detail, limit=limit, given=label)

    def _artifacts(self, given: ArtifactsSpec | None) -> ArtifactRequest | None:
        if given is None:
            return None
        issues, pointer = self._issues, "/artifacts/collect"
        if not 1 <= len(given.collect) <= ARTIFACT_GLOBS:
            code = IssueCode.TOO_MANY if given.collect else IssueCode.MISSING_FIELD
            detail = f"1 to {ARTIFACT_GLOBS} patterns are possible, {len(given.collect)} were given"
            issues.add(pointer, code, detail, limit=ARTIFACT_GLOBS, given=len(given.collect))
        for index, pattern in enumerate(given.collect[:ARTIFACT_GLOBS]):
            try:
                Globs([pattern])
            except Rejected as error:
                detail = error.message.partition(": ")[2]
                code = IssueCode.INVALID_VALUE
                limit = GLOB_CHARS if len(pattern) > GLOB_CHARS else None
                issues.add(pointer + step(index), code, detail, limit=limit, given=pattern)
        size = given.max_total
        total: float | None = ARTIFACT_DEFAULT_BYTES
        if size is not None:
            bounds = (1, ARTIFACT_BYTES)
            total = read_amount(Kind.SIZE, size, bounds, "/artifacts/max_total", issues)
        files = ARTIFACT_FILES if given.max_files is None else given.max_files
        check_range(files, 1, ARTIFACT_FILES, "/artifacts/max_files", issues)
        return ArtifactRequest(globs=given.collect, max_bytes=int(total or 1), max_files=files)


def _timeout_s(given: StageSpec | None, limits: StageLimits) -> int:
    """As KV2 shows it: whole seconds, and 0 where the submission named none."""
    if given is None or given.limits.wall_s is None:
        return 0
    return -(-limits.wall_ms // 1000)
