"""Which names a pattern stands for: `*`, `?` and `[...]` within a folder, `**` across folders.

Written by people who submit tasks, matched against names that tasks made up, in a service that has
other things to do: so a pattern is checked when it is submitted, and matching costs no more than
name times pattern, whatever either holds. `fnmatch` does not know `**`, and a pattern of many stars
must not be a way to stop an executor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from khala.model.errors import Rejected
from khala.model.limits import (
    ARTIFACT_BYTES,
    ARTIFACT_FILES,
    ARTIFACT_GLOBS,
    GLOB_CHARS,
)
from khala.model.spec import ArtifactRequest

#: Any number of folders, also none.
_FOLDERS = "**"
_SPECIAL = re.compile(r"[*?\[]")
_CLASS = re.compile(r"\[(!?)(\]?[^\]]*)\]")


class Globs:
    """Several patterns; a name matches if one of them does. Raises `Rejected` for a bad one."""

    def __init__(self, patterns: Iterable[str], *, field: str = "artifacts") -> None:
        self._patterns = [_parse(pattern, field) for pattern in patterns]

    def match(self, name: bytes) -> bool:
        """`name` is relative, without empty, `.` or `..` parts. Bytes that are no UTF-8 are
        characters of their own."""
        parts = name.decode("utf-8", "surrogateescape").split("/")
        return any(_match(pattern, parts) for pattern in self._patterns)


def check_artifacts(request: ArtifactRequest, *, field: str = "artifacts") -> None:
    """Raise `Rejected` naming the field unless executors will take the request."""
    if not 1 <= len(request.globs) <= ARTIFACT_GLOBS:
        raise Rejected(
            f"{field}/globs: 1 to {ARTIFACT_GLOBS} patterns are possible,"
            f" {len(request.globs)} were given",
            field=f"{field}/globs",
        )
    Globs(request.globs, field=f"{field}/globs")
    for name, given, most in (
        ("max_bytes", request.max_bytes, ARTIFACT_BYTES),
        ("max_files", request.max_files, ARTIFACT_FILES),
    ):
        if not 1 <= given <= most:
            raise Rejected(
                f"{field}/{name}: 1 to {most} is possible, {given} was given",
                field=f"{field}/{name}",
            )


def _parse(pattern: str, field: str) -> list[re.Pattern[str] | None]:
    """One expression for each part, None for `**`."""
    why = _why_not(pattern)
    if why is not None:
        raise Rejected(f"{field}: the pattern {pattern[:80]!r} {why}", field=field)
    parts = pattern.split("/")
    if parts[-1] == _FOLDERS:
        parts.append("*")  # the files below, not a file in the folder's place
    try:
        return [None if part == _FOLDERS else _compile(part) for part in parts]
    except re.error as error:
        raise Rejected(
            f"{field}: the pattern {pattern[:80]!r} is not readable: {error}", field=field
        ) from error


def _why_not(pattern: str) -> str | None:
    if len(pattern) > GLOB_CHARS:
        return f"has {len(pattern)} characters (limit {GLOB_CHARS})"
    if "\0" in pattern:
        return "has a NUL character, which no name has"
    if pattern.startswith("/"):
        return "is absolute; patterns are relative to the work directory"
    parts = pattern.split("/")
    if ".." in parts or "." in parts:
        return "has a '.' or '..' part; names of collected files have none"
    if "" in parts:
        return "has an empty part; write folder/** for all that is below a folder"
    if any(_FOLDERS in part and part != _FOLDERS for part in parts):
        return "has '**' beside other characters; it stands alone between slashes"
    try:
        pattern.encode()
    except UnicodeEncodeError:
        return "is not Unicode text"
    return None


def _compile(part: str) -> re.Pattern[str]:
    """A star takes as little as it can and never takes it back (`(?>...)`), except the last: what
    follows a star is found at its first place, which is never worse than a later one."""
    pieces: list[str] = [""]
    at = 0
    while at < len(part):
        found = _SPECIAL.search(part, at)
        if found is None:
            pieces[-1] += re.escape(part[at:])
            break
        pieces[-1] += re.escape(part[at : found.start()])
        at = found.start() + 1
        if found.group() == "*":
            pieces.append("")
        elif found.group() == "?":
            pieces[-1] += "."
        else:
            listed = _CLASS.match(part, found.start())
            if listed is None or not listed.group(2):
                raise re.error("'[' without ']'; write [[] for the character itself")
            pieces[-1] += _class(listed.group(1), listed.group(2))
            at = listed.end()
    first, *rest = pieces
    expression = first
    if rest:
        expression += "".join(f"(?>.*?{fixed})" for fixed in rest[:-1] if fixed)
        expression += ".*" + rest[-1]
    return re.compile(expression, re.DOTALL)


def _class(negated: str, listed: str) -> str:
    """A hyphen makes a range between two characters and is one itself at either end."""
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", listed)
    return f"[{'^' if negated else ''}{escaped}]"


def _match(pattern: Sequence[re.Pattern[str] | None], parts: Sequence[str]) -> bool:
    """Part by part; on a difference, the last `**` takes one folder more."""
    at = in_pattern = 0
    resume: tuple[int, int] | None = None
    while at < len(parts):
        if in_pattern < len(pattern):
            expected = pattern[in_pattern]
            if expected is None:
                in_pattern += 1
                resume = (in_pattern, at)
                continue
            if expected.fullmatch(parts[at]):
                in_pattern += 1
                at += 1
                continue
        if resume is None:
            return False
        in_pattern, at = resume[0], resume[1] + 1
        resume = (in_pattern, at)
    return in_pattern == len(pattern)
