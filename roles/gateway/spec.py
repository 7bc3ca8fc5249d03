"""The request of `POST /api/v2/tasks` as it is written: one typed model, unknown fields refused.

Only types are decided here, so that this file can be read as the description of the document;
`roles.gateway.spec_task` checks values against limits and makes the task.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from khala.model.cases import CheckMode
from khala.model.errors import Rejected
from khala.model.spec import OnOutputLimit
from khala.protocol.v2 import Issue, IssueCode, Scalar
from roles.gateway.issues import Invalid, step

#: Bytes, or a text such as "256MiB".
Size: TypeAlias = int | str
#: Seconds, or a text such as "2s" or "500ms".
Duration: TypeAlias = int | float | str
#: Values must be texts; other scalars are told apart to be refused by name.
Variables: TypeAlias = dict[str, str | int | float | bool | None]


class ContentSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes: exactly one of the four."""

    text: str | None = None
    base64: str | None = None
    #: Name of a part of the multipart body.
    part: str | None = None
    #: "sha256:" and the hash of a blob that was sent before.
    blob: str | None = None


class SourceSpec(ContentSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file, or an archive and where it is unpacked (the folder itself if there is no path)."""

    path: str = ""
    unpack: Literal["zip"] | None = None


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
    #: A bash script.
    command: str
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
    name: str = ""
    stdin: ContentSpec | None = None
    expect: ExpectSpec | None = None
    #: Its share of the score.
    weight: int = 1


class CheckSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as the expected output."""

    mode: CheckMode = CheckMode.TOKENS
    #: Of mode "float": a number is right if it is near enough by one of them.
    absolute: int | float | None = None
    relative: int | float | None = None
    #: Of mode "program": the checker's files (those of the task if there are none), and how it is
    #: compiled, if it is.
    sources: tuple[SourceSpec, ...] = ()
    compile: str | None = None
    #: A bash script; the paths of input, output and answer are added to its end.
    command: str | None = None
    limits: LimitsSpec = LimitsSpec()


class ArtifactsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files to keep when the stages are over."""

    collect: tuple[str, ...]
    max_total: Size | None = None
    max_files: int | None = None


class PlacementSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Labels of executors."""

    require: Variables = {}
    avoid: Variables = {}
    prefer: Variables = {}


class RetrySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which results are not the last."""

    #: Results there may be, the last one included.
    max_attempts: int
    #: Reasons of results that are followed by another try: `exit_nonzero`, `signal`, `wall_time`,
    #: `cpu_time`, `memory`, `output_limit`, `process_limit`, `file_size`, `disk`, `syscall`; all of
    #: these if none is given.
    on: tuple[str, ...] = ()
    #: Before the second try; twice as long before each further one, up to `backoff_max_s`.
    backoff_s: Duration | None = None
    backoff_max_s: Duration | None = None


class TaskSpecV2(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document."""

    stages: StagesSpec
    user: int = 0
    name: str = ""
    labels: Variables = {}
    #: From -100 to 100; a point is worth a minute of waiting.
    priority: int = 0
    #: What it takes up of its executor: `cpus`, `memory`, and counters of the operator's.
    resources: Variables = {}
    placement: PlacementSpec = PlacementSpec()
    #: Files of the work directory, and of its folder `data`.
    sources: tuple[SourceSpec, ...] = ()
    data: tuple[SourceSpec, ...] = ()
    #: Standard input of the execute stage.
    stdin: ContentSpec | None = None
    expect: ExpectSpec | None = None
    #: The execute stage runs once for each, in a fresh copy of the work directory.
    cases: tuple[CaseSpec, ...] = ()
    check: CheckSpec | None = None
    #: Cases after one that was not accepted are not run.
    stop_on_first_failure: bool = False
    #: Variables of both stages.
    env: Variables = {}
    image: str = ""
    cache: Literal["auto", "off"] = "auto"
    artifacts: ArtifactsSpec | None = None
    retry: RetrySpec | None = None
    #: Attempts that may end with the loss of their executor; the last one ends the task.
    max_crashes: int | None = None
    #: The task ends if no attempt has begun so long after its submission.
    queue_ttl_s: Duration | None = None


Document = TypeVar("Document")
_decode = msgspec.json.Decoder(TaskSpecV2).decode
_WHERE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?\Z", re.DOTALL)
_PATH = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_FIELD = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`\Z", re.DOTALL)


def parse_spec(body: bytes) -> TaskSpecV2:
    """Raise `Rejected` if it is not JSON, `Invalid` if it is another document."""
    return parse_document(_decode, body)


def parse_document(decode: Callable[[bytes], Document], body: bytes) -> Document:
    """As `parse_spec`, for whatever `decode` reads."""
    try:
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            # The first fault may come before what makes the rest unreadable.
            issue = _issue_of(str(error), msgspec.json.decode(body))
            raise Invalid([issue]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"the document is not readable as JSON: {error}") from error


def _issue_of(message: str, document: object) -> Issue:
    """msgspec names the place as `$.stages.compile` and the fault in a sentence of its own."""
    found = _WHERE.match(message)
    what, path = (found["what"], found["path"] or "") if found else (message, "")
    tokens = [name or int(index) for name, index in _PATH.findall(path)]
    pointer = "".join(map(step, tokens))
    if field := _FIELD.match(what):
        unknown = what.startswith("Object contains")
        return Issue(
            pointer=pointer + step(field[1]),
            code=IssueCode.UNKNOWN_FIELD if unknown else IssueCode.MISSING_FIELD,
            detail="there is no such field" if unknown else "this field is needed",
        )
    kind = IssueCode.WRONG_TYPE if what.startswith("Expected") else IssueCode.INVALID_VALUE
    return Issue(
        pointer=pointer,
        code=kind,
        detail=what[:1].lower() + what[1:],
        given=_find(document, tokens),
    )


def _find(found: object, tokens: list[str | int]) -> Scalar:
    """What stands at the place that was refused; None for what is no scalar."""
    for token in tokens:
        if isinstance(found, dict) and isinstance(token, str):
            found = found.get(token)
        elif isinstance(found, list) and isinstance(token, int) and token < len(found):
            found = found[token]
    if isinstance(found, str):
        return found[:100]
    return found if isinstance(found, int | float | bool) else None
