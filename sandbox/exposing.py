"""Directories of the host that an operator shows to tasks, such as `/opt/gcc-13`.

`DIR` shows a directory at its own path, `DIR:AT` at another one. Everything is settled when the
sandbox opens: a symlink is followed then, and what it pointed to is shown at the path that was
written. Whatever could surprise is refused instead: a task that finds another directory than its
operator meant, or none, fails in ways that nobody looks for here.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence

from msgspec import Struct

from khala.model.errors import Rejected

_FLAG = "--expose"
#: A colon before a slash parts the two paths, unless a backslash says that it does not.
_SPLIT = re.compile(r"(?<!\\):(?=/)")
#: The kernel's own trees, and what the whole host lies below.
_NOT_PROGRAMS = ("/proc", "/sys", "/dev")


class Exposed(Struct, frozen=True, kw_only=True):
    """A directory of the host, and where jails have it."""

    #: Without symlinks.
    source: str
    target: str

    @property
    def programs(self) -> str | None:
        """The directory of programs that goes to the front of PATH, if there is one."""
        if ":" in self.target:
            return None  # PATH cannot say it
        if os.path.isdir(f"{self.source}/bin"):
            return f"{self.target}/bin"
        return self.target if os.path.basename(self.target) == "bin" else None


def resolve_exposed(
    texts: Sequence[str], taken: Sequence[str], work_root: str
) -> tuple[Exposed, ...]:
    """Look at every directory. `taken` are paths that jails have already; all tasks' files lie
    below `work_root`. Raises Rejected."""
    found: list[Exposed] = []
    for text in texts:
        exposed = _resolve(text)
        _check_source(text, exposed.source)
        if is_below(work_root, [exposed.source]):
            raise _refuse(text, f"{exposed.source} holds the boxes of all tasks ({work_root})")
        _check_target(text, exposed.target, taken)
        for other in found:
            _check_pair(text, exposed.target, other.target)
        found.append(exposed)
    return tuple(found)


def _resolve(text: str) -> Exposed:
    paths = [path.replace("\\:", ":") for path in _SPLIT.split(text)]
    if len(paths) > 2:
        raise _refuse(text, r"more than two paths; write a colon that belongs to a path as \:")
    for path in paths:
        if not os.path.isabs(path) or ".." in path.split("/"):
            raise _refuse(text, f"{path} is not an absolute path without '..'")
    source, target = paths[0], os.path.normpath("/" + paths[-1].lstrip("/"))
    try:
        resolved = os.path.realpath(source, strict=True)
    except OSError as error:
        raise _refuse(text, f"{source}: {error.strerror}; name a directory of this host") from error
    return Exposed(source=resolved, target=target)


def _check_source(text: str, source: str) -> None:
    mode = os.stat(source).st_mode
    if not stat.S_ISDIR(mode):
        raise _refuse(
            text, f"{source} is not a directory; name the one it is in: {os.path.dirname(source)}"
        )
    if source == "/" or is_below(source, _NOT_PROGRAMS):
        raise _refuse(text, f"{source} is not a directory of programs")
    if mode & 0o005 != 0o005:
        raise _refuse(
            text,
            f"{source} has mode {stat.S_IMODE(mode):04o}, and tasks run as users of their own;"
            f" repair with: chmod o+rx {source}",
        )


def _check_target(text: str, target: str, taken: Sequence[str]) -> None:
    if target == "/" or is_below(target, taken) or any(is_below(own, [target]) for own in taken):
        raise _refuse(
            text,
            f"{target} is part of every jail or shadowed by it; show the directory at another path:"
            f" {text}:/opt/NAME",
        )


def _check_pair(text: str, target: str, other: str) -> None:
    if target == other:
        raise _refuse(text, f"{target} is exposed twice; leave one out")
    if is_below(target, [other]) or is_below(other, [target]):
        raise _refuse(text, f"{target} and {other} lie in one another; name the outer one only")


def is_below(path: str, tops: Sequence[str]) -> bool:
    """At or below one of them."""
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)


def _refuse(text: str, why: str) -> Rejected:
    return Rejected(f"{_FLAG}: {text}: {why}", field=_FLAG)
