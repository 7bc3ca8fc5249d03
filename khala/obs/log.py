"""Structured events to stderr, one a line.

Event names are `noun.verb`; everything else is fields. JSON unless stderr is a terminal. Three
things happen here, at the one door, because nobody would remember them everywhere else: values
under keys that smell of secrets are masked (a log is the file that people mail around), a warning
that repeats itself is thinned out (a dead peer must not fill a disk), and what libraries say
through `logging` becomes an event like any other. A log that cannot be written costs nothing but
the log.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

import structlog
from msgspec import Struct
from structlog.typing import EventDict, Processor, WrappedLogger

from khala.model.errors import Rejected

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
#: A file that holds a secret may be named, the secret may not.
_SECRET = re.compile(r"(secret|token|password|authorization|cookie)(?!.*_(file|path)$)", re.I)
_FIRST = ("ts", "level", "event", "role", "name", "component")
#: Warnings of one event and component within one period; the next one says how many were left out.
LIMIT_EVENTS = 20
LIMIT_PERIOD_S = 10.0


class LogOptions(Struct, frozen=True, kw_only=True):
    """What an operator may choose. `form`: auto, console or json."""

    level: str
    form: str
    file: str | None


def setup(context: dict[str, str], options: LogOptions) -> None:
    """Call once per process, before the first event; `context` is a field of every event.

    Raise `Rejected` if the file cannot be opened.
    """
    console = options.form == "console" or (options.form == "auto" and sys.stderr.isatty())
    render_json = structlog.processors.JSONRenderer(sort_keys=False, default=str)
    copy = _Copy(options.file, render_json) if options.file is not None else None
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        RateLimit(time.monotonic),
        _complete(context),
        mask,
    ]
    if console:
        render: Processor = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,
            timestamp_key="ts",
        )
        processors += [copy, render] if copy else [render]
    else:
        processors.append(structlog.processors.format_exc_info)
        processors += [copy, render_json] if copy else [render_json]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[options.level]),
        logger_factory=lambda *_: _Lines(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


class RateLimit:
    """Drops warnings of a kind that came LIMIT_EVENTS times in the present period."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began_at = clock()
        self._counts: dict[tuple[object, object], int] = {}
        self._dropped: dict[tuple[object, object], int] = {}

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if event["level"] != "warning":
            return event
        now = self._clock()
        if now - self._began_at >= LIMIT_PERIOD_S:
            self._began_at = now
            self._counts.clear()
        kind = (event["event"], event.get("component"))
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] > LIMIT_EVENTS:
            self._dropped[kind] = self._dropped.get(kind, 0) + 1
            raise structlog.DropEvent
        if left_out := self._dropped.pop(kind, 0):
            event["left_out"] = left_out
        return event


def mask(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace what stands under a key that smells of a secret."""
    for key, value in event.items():
        if _SECRET.search(key):
            event[key] = "***"
        elif isinstance(value, dict):
            event[key] = mask(_, __, {str(name): inner for name, inner in value.items()})
    return event


def _complete(context: dict[str, str]) -> Processor:
    """Add time and context; the fields that every event has come first."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")

    def complete(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event = stamp(logger, method, {**context, **event})
        first = {key: event.pop(key) for key in _FIRST if key in event}
        return {**first, **event}

    return complete


class _Lines:
    """Whole lines to a stream; one that is gone is no reason to stop serving."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


class _Copy:
    """Every event as JSON into a file, wherever it is shown besides."""

    def __init__(self, path: str, render: structlog.processors.JSONRenderer) -> None:
        self._path = path
        self._render = render
        try:
            self._file = self._open()
        except OSError as error:
            raise Rejected(
                f"--log-file: {path} cannot be written: {error.strerror}", field="--log-file"
            ) from error

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        whole = structlog.processors.format_exc_info(logger, method, dict(event))
        line = self._render(logger, method, whole)
        data = line if isinstance(line, bytes) else line.encode()
        with suppress(OSError):
            self._reopen_if_moved()
            os.write(self._file, data + b"\n")
        return event

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)

    def _reopen_if_moved(self) -> None:
        """A log rotation renames the file and expects a new one."""
        try:
            there, ours = os.stat(self._path), os.fstat(self._file)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        new = self._open()
        os.close(self._file)
        self._file = new


class _Bridge(logging.Handler):
    """What libraries log: their name is the component."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger().bind(component=record.name)
        emit = log.error if record.levelno >= logging.ERROR else log.warning
        emit("library.said", text=record.getMessage(), exc_info=record.exc_info)
