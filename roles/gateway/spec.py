"""The request of `POST /api/v2/tasks` as it is written: one typed model, unknown fields refused.

Only types are decided here, so that this file can be read as the description of the document;
`roles.gateway.spec_task` checks values against limits and makes the task.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from khala.model.cases import CheckMode
from khala.model.depends import On
from khala.model.limits import (
    AMOUNT_MAX,
    ARTIFACT_BYTES,
    ARTIFACT_FILES,
    ARTIFACT_GLOBS,
    CASE_NAME_CHARS,
    CASE_WEIGHT_MAX,
    CASES,
    CHECK_TOLERANCE_MAX,
    COMMAND_BYTES,
    CRASHES_MAX,
    ENVIRONMENT_BYTES,
    ENVIRONMENT_NAME_CHARS,
    ENVIRONMENT_VARIABLES,
    GLOB_CHARS,
    IMAGE_LABEL_CHARS,
    LABEL_KEY_CHARS,
    LABEL_VALUE_CHARS,
    LABELS,
    NAME_CHARS,
    PREDECESSORS,
    QUEUE_TTL_MAX_S,
    QUEUE_TTL_MIN_S,
    RESOURCES,
    RETENTION_MAX_S,
    RETENTION_MIN_S,
    RETRY_ATTEMPTS,
    RETRY_BACKOFF_LIMIT_S,
    SOURCES,
)
from khala.model.order import PRIORITY_MAX
from khala.model.retry import RetryReason
from khala.model.spec import Network, OnOutputLimit
from roles.gateway.bounds import chars, entries, items, told, within
from roles.gateway.documents import parse_document
from roles.gateway.submission import INTEGER_MAX, NAME_BYTES

#: Names of variables, and keys of labels and resources.
VARIABLE = rf"^(?!KHALA_)[A-Za-z_][A-Za-z0-9_]{{0,{ENVIRONMENT_NAME_CHARS - 1}}}$"
LABEL_KEY = rf"^[A-Za-z0-9][A-Za-z0-9._/-]{{0,{LABEL_KEY_CHARS - 1}}}$"
#: Bytes, or a text such as "256MiB".
Size: TypeAlias = int | str
#: Seconds, or a text such as "2s" or "500ms".
Duration: TypeAlias = int | float | str
#: Environment variables.
Variables: TypeAlias = Annotated[
    dict[str, Annotated[Any, told(type="string", maxLength=ENVIRONMENT_BYTES)]],
    entries(ENVIRONMENT_VARIABLES, VARIABLE),
]
Labels: TypeAlias = Annotated[
    dict[str, Annotated[Any, told(type="string", maxLength=LABEL_VALUE_CHARS)]],
    entries(LABELS, LABEL_KEY),
]
Amounts: TypeAlias = Annotated[
    dict[
        str,
        Annotated[
            Any,
            told(
                anyOf=[{"type": "number", "minimum": 0, "maximum": AMOUNT_MAX}, {"type": "string"}]
            ),
        ],
    ],
    entries(RESOURCES, LABEL_KEY),
]
#: A bash script.
Command: TypeAlias = Annotated[str, chars(COMMAND_BYTES, r"\S")]
Name: TypeAlias = Annotated[str, chars(NAME_CHARS)]
User: TypeAlias = Annotated[int, within(0, INTEGER_MAX)]
Priority: TypeAlias = Annotated[int, within(-PRIORITY_MAX, PRIORITY_MAX)]
TaskReference: TypeAlias = Annotated[str, told(pattern="^[0-9a-f]{24}$")]
Crashes: TypeAlias = Annotated[int, within(1, CRASHES_MAX)]
#: As nodes are named.
PresetName: TypeAlias = Annotated[str, told(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Image: TypeAlias = Annotated[str, chars(IMAGE_LABEL_CHARS, r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")]
_Reason: TypeAlias = Annotated[str, told(enum=[reason.value for reason in RetryReason])]
Pause: TypeAlias = (
    Annotated[int, within(0, RETRY_BACKOFF_LIMIT_S)]
    | Annotated[float, within(0, RETRY_BACKOFF_LIMIT_S)]
    | str
)
Waiting: TypeAlias = (
    Annotated[int, within(QUEUE_TTL_MIN_S, QUEUE_TTL_MAX_S)]
    | Annotated[float, within(QUEUE_TTL_MIN_S, QUEUE_TTL_MAX_S)]
    | str
)
Keeping: TypeAlias = (
    Annotated[int, within(RETENTION_MIN_S, RETENTION_MAX_S)]
    | Annotated[float, within(RETENTION_MIN_S, RETENTION_MAX_S)]
    | str
)
_Tolerance: TypeAlias = (
    Annotated[int, within(0, CHECK_TOLERANCE_MAX)]
    | Annotated[float, within(0, CHECK_TOLERANCE_MAX)]
)


class ContentSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes: exactly one of the four."""

    text: str | None = None
    base64: str | None = None
    #: Name of a part of the multipart body.
    part: str | None = None
    #: "sha256:" and the hash of a blob that was sent before.
    blob: Annotated[str, told(pattern="^(sha256:)?[0-9a-f]{64}$")] | None = None


class SourceSpec(ContentSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file, or an archive and where it is unpacked (the folder itself if there is no path)."""

    path: Annotated[str, chars(NAME_BYTES)] = ""
    unpack: Literal["zip", "tar"] | None = None


Sources: TypeAlias = Annotated[tuple[SourceSpec, ...], items(0, SOURCES)]


class LimitsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not given is the gateway's default."""

    wall_s: Duration | None = None
    #: Of all processes together.
    cpu_s: Duration | None = None
    #: Processors that may be in use at a time.
    cpus: int | float | None = None
    memory: Size | None = None
    pids: int | None = None
    #: Of stdout and of stderr, each.
    output: Size | None = None
    #: The largest single file.
    file_size: Size | None = None
    #: Of the work directory: bytes, and files and folders.
    disk: Size | None = None
    disk_files: int | None = None


class StageSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    command: Command
    limits: LimitsSpec = LimitsSpec()
    #: Whether a stage that writes more than its `output` is killed, or goes on and is cut.
    on_output_limit: OnOutputLimit = OnOutputLimit.STOP
    #: Wins over the variables of the task.
    env: Variables = {}


class StagesSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At least one of them."""

    compile: StageSpec | None = None
    execute: StageSpec | None = None


class ExpectSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    stdout: ContentSpec


class CaseSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input of the execute stage."""

    #: Its number, from 1, if it has none.
    name: Annotated[str, chars(CASE_NAME_CHARS)] = ""
    stdin: ContentSpec | None = None
    expect: ExpectSpec | None = None
    #: Its share of the score.
    weight: Annotated[int, within(0, CASE_WEIGHT_MAX)] = 1


class CheckSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as the expected output."""

    mode: CheckMode = CheckMode.TOKENS
    #: Of mode "float": a number is right if it is near enough by one of them.
    absolute: _Tolerance | None = None
    relative: _Tolerance | None = None
    #: Of mode "program": the checker's files (those of the task if there are none), and how it is
    #: compiled, if it is.
    sources: Sources = ()
    compile: Command | None = None
    #: The paths of input, output and answer are added to its end.
    command: Command | None = None
    limits: LimitsSpec = LimitsSpec()


class ArtifactsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files to keep when the stages are over."""

    collect: Annotated[tuple[Annotated[str, chars(GLOB_CHARS)], ...], items(1, ARTIFACT_GLOBS)]
    max_total: Annotated[int, within(1, ARTIFACT_BYTES)] | str | None = None
    max_files: Annotated[int, within(1, ARTIFACT_FILES)] | None = None


class PlacementSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Labels of executors."""

    require: Labels = {}
    avoid: Labels = {}
    prefer: Labels = {}


class RetrySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which results are not the last."""

    #: Results there may be, the last one included.
    max_attempts: Annotated[int, within(1, RETRY_ATTEMPTS)]
    #: Reasons of results that are followed by another try: `exit_nonzero`, `signal`, `wall_time`,
    #: `cpu_time`, `memory`, `output_limit`, `process_limit`, `file_size`, `disk`, `syscall`; all of
    #: these if none is given.
    on: Annotated[tuple[_Reason, ...], items(0, len(RetryReason))] = ()
    #: Before the second try; twice as long before each further one, up to `backoff_max_s`.
    backoff_s: Pause | None = None
    backoff_max_s: Pause | None = None


class PredecessorSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task that is waited for, or a job: all of its tasks."""

    id: TaskReference
    #: Whether it has to succeed, or to end in any way.
    on: On = On.OK


Predecessors: TypeAlias = Annotated[
    tuple[TaskReference | PredecessorSpec, ...], items(0, PREDECESSORS)
]


class TaskSpecV2(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document."""

    stages: StagesSpec
    #: What the document begins with: it is a merge patch (RFC 7396) on what that preset says.
    preset: PresetName | None = None
    #: None: who submits it; 0 for who has no number.
    user: User | None = None
    name: Name = ""
    labels: Labels = {}
    #: A point is worth a minute of waiting.
    priority: Priority = 0
    #: It does not begin before it is released, with `PATCH`.
    held: bool = False
    #: What it takes up of its executor: `cpus`, `memory`, and counters of the operator's.
    resources: Amounts = {}
    placement: PlacementSpec = PlacementSpec()
    #: Files of the work directory, and of its folder `data`.
    sources: Sources = ()
    data: Sources = ()
    #: Standard input of the execute stage.
    stdin: ContentSpec | None = None
    expect: ExpectSpec | None = None
    #: The execute stage runs once for each, in a fresh copy of the work directory.
    cases: Annotated[tuple[CaseSpec, ...], items(0, CASES)] = ()
    check: CheckSpec | None = None
    #: Cases after one that was not accepted are not run.
    stop_on_first_failure: bool = False
    #: Variables of both stages.
    env: Variables = {}
    image: Image = ""
    #: What both stages have: nothing, a loopback interface of their own, or their executor's
    #: network, of executors that offer it.
    network: Network = Network.LOOPBACK
    cache: Literal["auto", "off"] = "auto"
    artifacts: ArtifactsSpec | None = None
    #: Tasks and jobs that have to end before it begins: ids, or ids with how they have to end.
    depends_on: Predecessors = ()
    retry: RetrySpec | None = None
    #: Attempts that may end with the loss of their executor; the last one ends the task.
    max_crashes: Crashes | None = None
    #: The task ends if no attempt has begun so long after its submission.
    queue_ttl_s: Waiting | None = None
    #: It is removed so long after its end; a cluster may keep nothing as long. Seconds, or "30d".
    retention: Keeping | None = None


_decoder = msgspec.json.Decoder(TaskSpecV2)


def parse_spec(body: bytes) -> TaskSpecV2:
    """Raise `Rejected` if it is not JSON, `Invalid` if it is another document."""
    return parse_document(_decoder, body)
