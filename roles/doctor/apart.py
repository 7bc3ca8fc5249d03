"""A check in a child process, for whatever changes the process that does it.

Opening a sandbox enters namespaces for good, and a kernel that misbehaves can hang in the middle
of it. In a child both are over with the child, which has a deadline.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import msgspec

from khala.model.errors import KhalaError
from roles.doctor.finding import Finding, missing, refused

DEADLINE_S = 20.0
_CHUNK_BYTES = 65536


def apart(check: Callable[[], Finding], deadline_s: float = DEADLINE_S) -> Finding:
    """What `check` found in a child. This process must not have threads."""
    ours, theirs = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _answer(check, theirs)
    os.close(theirs)
    try:
        answer = _read(ours, time.monotonic() + deadline_s)
    finally:
        os.close(ours)
        # Whatever it started and did not end has its process group.
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if answer is None:
        return missing(f"no answer within {deadline_s:g} s")
    if not answer:
        code = os.waitstatus_to_exitcode(status)
        return missing(f"the trial ended without an answer ({code})")
    return msgspec.json.decode(answer, type=Finding)


def _answer(check: Callable[[], Finding], pipe: int) -> NoReturn:
    """In the child, which must not return into the parent's work. Standard error goes nowhere:
    what is worth saying is in the finding."""
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        os.write(pipe, msgspec.json.encode(attempt(check)))
        code = 0
    finally:
        os._exit(code)


def _read(pipe: int, deadline: float) -> bytes | None:
    """Everything until all writers are gone; None if the deadline comes first."""
    answer = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(pipe, _CHUNK_BYTES)
        if not chunk:
            return answer
        answer += chunk


def attempt(check: Callable[[], Finding]) -> Finding:
    """One check's failure is its finding, and no other check's problem."""
    try:
        return check()
    except KhalaError as error:
        return refused(error)
    except OSError as error:
        return missing(str(error))
    except Exception as error:  # noqa: BLE001 - a broken host may raise anything here
        return missing(f"the check itself failed: {type(error).__name__}: {error}")
