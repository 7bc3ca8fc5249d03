"""From the options of `run` and `submit` to a task."""

from __future__ import annotations

import functools
import io
import math
import os
import re
import shlex
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.client import ArtifactsOf, CaseOf, Limits, NewTask, PlacementOf, RetryOf, Source, StageOf
from khala.config.values import Kind, show
from khala.model.errors import Rejected
from khala.model.limits import KEY_CHARS

#: Directives are looked for here only: before the first command, and not in megabytes of data.
DIRECTIVE_BYTES = 32 * 1024
#: The label that every executor has of itself: its name.
NODE_LABEL = "executor"


class Options(Struct, frozen=True, kw_only=True):
    """Of the command line; what was not given is None, or empty."""

    command: tuple[str, ...] = ()
    preset: str | None = None
    compile: str | None = None
    source: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    stdin: str | None = None
    expect: str | None = None
    cases: str | None = None
    check: str | None = None
    stop_on_failure: bool = False
    env: tuple[str, ...] = ()
    user: int | None = None
    name: str | None = None
    label: tuple[str, ...] = ()
    priority: int | None = None
    hold: bool = False
    resource: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()
    node: str | None = None
    retries: int | None = None
    retry_on: tuple[str, ...] = ()
    retry_backoff: str | None = None
    max_crashes: int | None = None
    queue_ttl: str | None = None
    retention: str | None = None
    after: tuple[str, ...] = ()
    image: str | None = None
    network: str | None = None
    no_cache: bool = False
    artifact: tuple[str, ...] = ()
    time: str | None = None
    cpu_time: str | None = None
    mem: str | None = None
    pids: int | None = None
    cpus: float | None = None
    output: str | None = None
    file_size: str | None = None
    disk: str | None = None
    compile_time: str | None = None
    compile_mem: str | None = None


def task_of(options: Options) -> NewTask:
    """Read the files it names. Raises Rejected naming the option."""
    execute = StageOf(
        _command_of(options),
        Limits(
            wall_s=duration_of(options.time, "--time"),
            cpu_s=duration_of(options.cpu_time, "--cpu-time"),
            cpus=options.cpus,
            memory=options.mem,
            pids=options.pids,
            output=options.output,
            file_size=options.file_size,
            disk=options.disk,
        ),
    )
    artifacts = ArtifactsOf(options.artifact) if options.artifact else None
    return NewTask(
        execute=_unless_empty(execute),
        compile=_compile_stage(options),
        preset=options.preset or "",
        sources=tuple(_source(path, "--source") for path in _sources_of(options)),
        data=tuple(_source(path, "--data") for path in options.data),
        stdin=_stdin(options.stdin),
        env=dict(pair_of(text, "--env", "NAME") for text in options.env),
        user=options.user,
        name=options.name or "",
        labels=dict(pair_of(text, "--label", "KEY") for text in options.label),
        priority=options.priority or 0,
        held=options.hold,
        resources=dict(_resource(text) for text in options.resource),
        placement=_placement(options),
        retry=_retry(options),
        max_crashes=options.max_crashes,
        depends_on=tuple(word for text in options.after for word in text.split(",")),
        queue_ttl_s=duration_of(options.queue_ttl, "--queue-ttl"),
        retention=duration_of(options.retention, "--retention"),
        image=options.image or "",
        network=options.network or "",
        cache=not options.no_cache,
        artifacts=artifacts,
        expected=_read(options.expect, "--expect") if options.expect is not None else None,
        cases=_cases(options.cases) if options.cases is not None else (),
        check=options.check,
        stop_on_first_failure=options.stop_on_failure,
    )


def _compile_stage(options: Options) -> StageOf | None:
    wall_s = duration_of(options.compile_time, "--compile-time")
    limits = Limits(wall_s=wall_s, memory=options.compile_mem)
    if options.compile is None:
        return _unless_empty(StageOf("", limits)) if options.preset else None
    return StageOf(options.compile, msgspec.structs.replace(limits, disk=options.disk))


def _unless_empty(stage: StageOf) -> StageOf | None:
    """Where a preset says it all, nothing is said of the stage."""
    return None if stage == StageOf("") else stage


_NUMBERS = re.compile(r"(\d+)")


def _cases(folder: str) -> tuple[CaseOf, ...]:
    """Each `NAME.in`, with `NAME.out` or `NAME.ans`; 2 comes before 10."""
    inputs = [path for path in Path(folder).glob("*.in") if path.is_file()]
    if not inputs:
        raise Rejected(f"--cases: {folder} has no files *.in", field="--cases")

    def place(path: Path) -> list[tuple[int, str]]:
        words = _NUMBERS.split(path.stem)
        return [(int(word), "") if word.isdigit() else (-1, word) for word in words]

    return tuple(
        CaseOf(name=path.stem, stdin=_read(str(path), "--cases"), expected=_expected_beside(path))
        for path in sorted(inputs, key=place)
    )


def _expected_beside(path: Path) -> bytes | None:
    for suffix in (".out", ".ans"):
        answer = path.with_suffix(suffix)
        if answer.is_file():
            return _read(str(answer), "--cases")
    return None


def _command_of(options: Options) -> str:
    """One argument is a script as it stands; several are words, quoted so that they stay words."""
    if not options.command and options.preset:
        return ""
    if not options.command:
        raise Rejected("a command is missing; try: run -- echo hello, -f SCRIPT, or --preset NAME")
    if len(options.command) == 1:
        return options.command[0]
    return shlex.join(options.command)


def directives_of(script: str, prefix: str) -> list[str]:
    """The arguments of its lines with this prefix, which end with the first line that is a
    command."""
    arguments: list[str] = []
    for line in script[:DIRECTIVE_BYTES].splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            break
        word, _, rest = stripped.partition(" ")
        if word == prefix:
            try:
                arguments += shlex.split(rest, comments=True)
            except ValueError as error:
                raise Rejected(f"{prefix}: {rest[:80]!r} cannot be read: {error}") from error
    return arguments


def read_script(path: str) -> str:
    try:
        return _read(path, "-f").decode()
    except UnicodeDecodeError as error:
        raise Rejected(f"-f: {path} is not a text in UTF-8", field="-f") from error


def _read(path: str, option: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Rejected(f"{option}: {path}: {error.strerror}", field=option) from error


def _stdin(path: str | None) -> bytes | None:
    return None if path is None else _read(path, "--stdin")


def _sources_of(options: Options) -> tuple[str, ...]:
    """`-- ./sim.sh` takes that file along if nothing else is said of files: a task sees none of
    this folder's, and whoever types it means this one."""
    words = options.command[0].split(maxsplit=1) if options.command else []
    if options.source or options.compile is not None or not words:
        return options.source
    word = words[0]
    inside = word.startswith("./") and ".." not in word and Path(word).is_file()
    return (f"{word}:{word.removeprefix('./')}",) if inside else ()


def _source(text: str, option: str) -> Source:
    """`PATH`, or `PATH:NAME` for another name inside. A folder travels as an archive, and so does
    what can be run: an archive has room for that, too."""
    path, _, name = text.partition(":")
    found = Path(path)
    if found.is_dir():
        files = [(each, each.relative_to(found).as_posix()) for each in _files_below(found)]
        return Source(name, _zipped(files, option), unpack="zip")
    if found.is_file() and os.access(found, os.X_OK):
        return Source("", _zipped([(found, name or found.name)], option), unpack="zip")
    return Source(name or found.name, _read(path, option))


def _zipped(files: Iterable[tuple[Path, str]], option: str) -> bytes:
    """Files by their names inside."""
    buffer = io.BytesIO()
    try:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, name in files:
                archive.write(path, name)
    except (OSError, ValueError) as error:
        raise Rejected(f"{option}: {error}", field=option) from error
    return buffer.getvalue()


def _files_below(folder: Path) -> Iterable[Path]:
    """The regular ones; links are not followed, and what is not a file is left out."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _placement(options: Options) -> PlacementOf | None:
    if not (options.require or options.avoid or options.prefer or options.node is not None):
        return None
    require = dict(pair_of(text, "--require", "KEY") for text in options.require)
    if options.node is not None and require.setdefault(NODE_LABEL, options.node) != options.node:
        raise Rejected(
            f"--node: {options.node!r} and --require {NODE_LABEL}={require[NODE_LABEL]} name two"
            " executors; give one of them",
            field="--node",
        )
    return PlacementOf(
        require=require,
        avoid=dict(pair_of(text, "--avoid", "KEY") for text in options.avoid),
        prefer=dict(pair_of(text, "--prefer", "KEY") for text in options.prefer),
    )


def _retry(options: Options) -> RetryOf | None:
    if options.retries is None:
        if options.retry_on or options.retry_backoff is not None:
            option = "--retry-on" if options.retry_on else "--retry-backoff"
            raise Rejected(f"{option}: how often is missing; add --retries N", field=option)
        return None
    reasons = tuple(word for text in options.retry_on for word in text.split(","))
    return RetryOf(
        max_attempts=options.retries + 1,
        on=reasons or None,
        backoff_s=duration_of(options.retry_backoff, "--retry-backoff"),
    )


def _resource(text: str) -> tuple[str, float | str]:
    """Numbers as numbers; whatever else is a size, or the gateway's to refuse."""
    name, value = pair_of(text, "--resource", "NAME")
    try:
        return name, int(value) if value.isdigit() else float(value)
    except ValueError:
        return name, value


def pair_of(text: str, option: str, what: str) -> tuple[str, str]:
    """`NAME=VALUE`; `what` is the word for the first of them."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Rejected(f"{option}: {what}=VALUE is expected, {text[:80]!r} was given", field=option)
    return name, value


def key_of(text: str | None) -> str | None:
    """What may stand in `--idempotency-key`. Raises Rejected."""
    if text is None or (text and len(text) <= KEY_CHARS and text.isascii() and text.isprintable()):
        return text
    raise Rejected(
        f"--idempotency-key: 1 to {KEY_CHARS} printable ASCII characters are expected,"
        f" {len(text)} were given: {text[:40]!a}",
        field="--idempotency-key",
    )


def duration_of(
    text: str | None, option: str, *, least_s: float = 0.0, most_s: float = math.inf
) -> float | None:
    """`10`, `10s`, `1.5m`, `2h`, `1d`, `500ms`, or `HH:MM:SS`. Raise `Rejected` for what is no
    length of time, and beyond the bounds."""
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise Rejected(
            f"{option}: a duration such as 500ms, 10s, 5m, 2h, 1d or 00:10:00 is expected,"
            f" {text[:40]!r} was given",
            field=option,
        ) from None
    if least_s <= seconds <= most_s:
        return seconds
    to = "on" if most_s == math.inf else f"to {show(Kind.SECONDS, most_s)}"
    bounds = f"from {show(Kind.SECONDS, least_s)} {to}"
    raise Rejected(
        f"{option}: a duration {bounds}, such as 10s, 5m or 2h, is expected, {text[:40]!r} was"
        " given",
        field=option,
    )


#: Milliseconds first: they end as seconds do.
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


def parse_duration(text: str) -> float:
    """Seconds; also less than none. Raises ValueError."""
    if ":" in text:
        parts = text.split(":")
        if not all(part.isdecimal() for part in parts):
            raise ValueError(text)
        return float(functools.reduce(lambda seconds, part: seconds * 60 + int(part), parts, 0))
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    seconds = float(text.removesuffix(unit)) * _UNITS[unit]
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds
