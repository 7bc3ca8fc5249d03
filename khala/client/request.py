"""What a client asks for, in Python's types, and the JSON document it becomes.

Values are not checked here: the gateway knows the limits and names every fault at once, which a
second set of rules in the client could only contradict.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

Json: TypeAlias = dict[str, Any]


class Limits(Struct, frozen=True, kw_only=True):
    """Of one stage; None is the gateway's default. Durations are seconds or texts such as "500ms",
    sizes are bytes or texts such as "256MiB"."""

    wall_s: float | str | None = None
    cpu_s: float | str | None = None
    cpus: float | None = None
    memory: int | str | None = None
    pids: int | None = None
    output: int | str | None = None
    file_size: int | str | None = None
    disk: int | str | None = None
    disk_files: int | None = None


class StageOf(Struct, frozen=True):
    """One stage: a bash script ("" is that of the task's preset), its limits and its own
    variables."""

    command: str
    limits: Limits = Limits()
    env: dict[str, str] = {}


class Source(Struct, frozen=True):
    """A file of the work directory: where it goes, and its content."""

    path: str
    content: bytes
    #: The content is such an archive ("tar" may be compressed with gzip), unpacked into the folder
    #: `path` ("" is the work directory).
    unpack: Literal["zip", "tar"] | None = None

    @classmethod
    def of_file(cls, file: Path, path: str | None = None) -> Source:
        """A file of this host, under its own name unless another one is given."""
        return cls(file.name if path is None else path, file.read_bytes())


class ArtifactsOf(Struct, frozen=True):
    """Which files to keep: globs, as in `out/**`."""

    collect: tuple[str, ...]
    max_total: int | str | None = None
    max_files: int | None = None


class CaseOf(Struct, frozen=True, kw_only=True):
    """One input of the execute stage, and what its output should be."""

    name: str = ""
    stdin: bytes | None = None
    expected: bytes | None = None
    weight: int = 1


class PlacementOf(Struct, frozen=True, kw_only=True):
    """Labels of executors that a task must find, must not find, or would rather find."""

    require: dict[str, str] = {}
    avoid: dict[str, str] = {}
    prefer: dict[str, str] = {}


class RetryOf(Struct, frozen=True, kw_only=True):
    """Which results are not the last; what is not given is the gateway's default."""

    #: Results there may be, the last one included.
    max_attempts: int
    #: Reasons, as "signal"; all of those that there are if none is given.
    on: tuple[str, ...] | None = None
    backoff_s: float | str | None = None
    backoff_max_s: float | str | None = None


#: Fields of a task that its document has as they are, unless they are empty.
_PLAIN = ("preset", "name", "labels", "priority", "held", "resources", "image", "network")


class NewTask(Struct, frozen=True, kw_only=True):
    """A task to create; at least one of the two stages, here or in its preset."""

    execute: StageOf | None = None
    compile: StageOf | None = None
    sources: tuple[Source, ...] = ()
    data: tuple[Source, ...] = ()
    stdin: bytes | None = None
    env: dict[str, str] = {}
    #: Whose task it is; None: whose token is shown.
    user: int | None = None
    name: str = ""
    labels: dict[str, str] = {}
    priority: int = 0
    #: It does not begin before it is released, with `patch_task`.
    held: bool = False
    #: What it takes up of its executor: {"cpus": 2, "memory": "8GiB", "gpu": 1}.
    resources: dict[str, float | str] = {}
    placement: PlacementOf | None = None
    image: str = ""
    #: "none", "loopback" or "full"; what the cluster gives by itself if it is empty.
    network: str = ""
    #: Whether an executor may answer the compile stage from its cache.
    cache: bool = True
    artifacts: ArtifactsOf | None = None
    #: Tasks and jobs that have to end before it begins: "ID" or "ID:ok" in success, "ID:any".
    depends_on: tuple[str, ...] = ()
    retry: RetryOf | None = None
    #: Attempts that may end with the loss of their executor.
    max_crashes: int | None = None
    #: The task ends if no attempt has begun so long after its submission.
    queue_ttl_s: float | str | None = None
    #: It is removed so long after its end: seconds, or "30d".
    retention: float | str | None = None
    #: What the only output should be, of a task without cases.
    expected: bytes | None = None
    #: What it begins with; what is given here wins.
    preset: str = ""
    cases: tuple[CaseOf, ...] = ()
    #: A mode, as "tokens", or the whole check as the document has it.
    check: str | Json | None = None
    stop_on_first_failure: bool = False

    @property
    def contents(self) -> Iterator[bytes]:
        """All bytes of its files and texts."""
        for source in (*self.sources, *self.data):
            yield source.content
        given = [self.stdin, self.expected]
        given += [each for case in self.cases for each in (case.stdin, case.expected)]
        yield from (each for each in given if each is not None)

    def document(self, blobs: Mapping[bytes, str] = {}) -> Json:
        """The body of `POST /api/v2/tasks`; `blobs` has the names of contents that were sent."""
        stages = {"compile": self.compile, "execute": self.execute}
        document: Json = {
            "stages": {name: _stage(stage) for name, stage in stages.items() if stage is not None},
            "env": self.env,
        }
        for name, sources in (("sources", self.sources), ("data", self.data)):
            if sources:
                document[name] = [_source(source, blobs) for source in sources]
        if self.stdin is not None:
            document["stdin"] = _content(self.stdin, blobs)
        for name in _PLAIN:
            if value := getattr(self, name):
                document[name] = value
        if not self.cache:
            document["cache"] = "off"
        for name in ("placement", "artifacts", "retry"):
            if (part := getattr(self, name)) is not None:
                document[name] = _given(part)
        if self.depends_on:
            document["depends_on"] = [_predecessor(each) for each in self.depends_on]
        for name in ("user", "max_crashes", "queue_ttl_s", "retention"):
            if (value := getattr(self, name)) is not None:
                document[name] = value
        self._judge(document, blobs)
        return document

    def _judge(self, document: Json, blobs: Mapping[bytes, str]) -> None:
        if self.expected is not None:
            document["expect"] = {"stdout": _content(self.expected, blobs)}
        if self.cases:
            document["cases"] = [_case(case, blobs) for case in self.cases]
        if self.check is not None:
            by_mode = isinstance(self.check, str)
            document["check"] = {"mode": self.check} if by_mode else self.check
        if self.stop_on_first_failure:
            document["stop_on_first_failure"] = True


class TaskPatch(Struct, frozen=True, kw_only=True):
    """What is to be another of a task that exists; what is not given stays, None is the default."""

    name: str | UnsetType | None = UNSET
    #: Added or replaced; None takes one away, and None alone all of them.
    labels: dict[str, str | None] | UnsetType | None = UNSET
    #: Only while it waits.
    priority: int | UnsetType | None = UNSET
    #: Only while it waits: whether it is held, until it is released with False.
    held: bool | UnsetType = UNSET
    #: How long after its end it is removed; None: as the cluster keeps any.
    retention: float | str | UnsetType | None = UNSET

    @property
    def of_waiting(self) -> bool:
        """It is about waiting."""
        return self.priority is not UNSET or self.held is not UNSET


def _predecessor(text: str) -> Json:
    task, _, on = text.partition(":")
    return {"id": task, "on": on or "ok"}


def _case(case: CaseOf, blobs: Mapping[bytes, str]) -> Json:
    document: Json = {"name": case.name, "weight": case.weight}
    if case.stdin is not None:
        document["stdin"] = _content(case.stdin, blobs)
    if case.expected is not None:
        document["expect"] = {"stdout": _content(case.expected, blobs)}
    return document


def _stage(stage: StageOf) -> Json:
    command = {"command": stage.command} if stage.command else {}
    return {**command, "limits": _given(stage.limits), "env": stage.env}


def _source(source: Source, blobs: Mapping[bytes, str]) -> Json:
    document: Json = {"path": source.path, **_content(source.content, blobs)}
    if source.unpack is not None:
        document["unpack"] = source.unpack
    return document


def _content(data: bytes, blobs: Mapping[bytes, str]) -> Json:
    """By name if it was sent ahead; as text where it is text, which stays readable in logs and
    costs a quarter less."""
    if data in blobs:
        return {"blob": blobs[data]}
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _given(struct: Struct) -> Json:
    values = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}
