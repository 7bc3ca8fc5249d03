"""What a jail is told when its task is known: the first shell, and the file it reads.

A jail is made before anybody knows what it will run, and then costs a task two milliseconds
instead of twelve. Limits are set from outside: cgroup files, resource limits of the first process.
What is left comes through two descriptors, which the first shell closes before the command starts:

- the *gate*, a socket. The shell writes a line when the jail is complete and reads one to go on.
  Should the service die instead, it reads the end, and leaves.
- the *orders*, a file in memory, written before the line is sent and read as shell commands:
  variables, and the script to run. Every value is in single quotes, in which a POSIX shell gives
  no byte a meaning but the quote itself.
"""

from __future__ import annotations

import os
import re

from sandbox.errors import BadInput
from sandbox.job import Job

GATE_FD = 3
ORDERS_FD = 4
_STDERR_FD = 5
#: What the first shell writes to say that it waits.
READY_BYTES = 1

#: The subshell keeps the redirection from the outer one, which would report signals to it.
FIRST_SHELL = (
    f"exec {_STDERR_FD}>&2 2>/dev/null;"
    f" echo >&{GATE_FD}; read -r _ <&{GATE_FD} || exit;"
    f" . /proc/self/fd/{ORDERS_FD}; exec {GATE_FD}>&- {ORDERS_FD}>&-;"
    f' (exec bash "$1" 2>&{_STDERR_FD} {_STDERR_FD}>&-); exit "$?"'
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: Setting one of these ends some shell or other, and bash, which runs the command, has its own.
_SHELLS_OWN = frozenset(
    [
        "BASHOPTS",
        "BASH_VERSINFO",
        "EUID",
        "HISTCMD",
        "OPTIND",
        "PPID",
        "SHELLOPTS",
        "SRANDOM",
        "UID",
    ]
)


def orders_for(job: Job) -> bytes:
    """Raises BadInput for a variable that no shell could set."""
    lines = [_export(name, value) for name, value in job.environment.items()]
    if job.stdin is None:
        lines.append(b"exec </dev/null")
    lines.append(b"set -- %s.sh" % job.stage.encode())
    return b"\n".join(lines) + b"\n"


def _export(name: str, value: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"the variable {name!r} is refused: a name has letters, digits and '_', and does not"
            " begin with a digit"
        )
    if "\0" in value:
        raise BadInput(f"the variable {name} is refused: its value contains a NUL character")
    if name in _SHELLS_OWN:
        return b":"
    return b"export %s='%s'" % (name.encode(), os.fsencode(value).replace(b"'", b"'\\''"))
