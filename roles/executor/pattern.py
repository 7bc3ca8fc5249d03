"""Whether an output matches a pattern: in a process of its own.

A pattern is a stranger's program in a language that may run for ever. So it is tried by a child
that has no rights, bounded memory and bounded time; one that does not answer is killed, and the
verdict is `IE`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from khala.model.cases import Difference, Judgement, Verdict
from khala.model.limits import (
    CASE_NOTE_BYTES,
    CASE_TEXT_BYTES,
    MIB,
    PATTERN_OUTPUT_BYTES,
    PATTERN_SECONDS,
)
from roles.executor.compare import Stopped, cut_text

_LOOK_S = 0.1
_MEMORY_BYTES = 512 * MIB
_NOBODY = 65534
#: First line of its input: the length of the pattern. It says one word, or why it cannot.
_CHILD = f"""
import os, re, resource, sys
for limit, value in (
    (resource.RLIMIT_AS, {_MEMORY_BYTES}), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_CPU, {int(PATTERN_SECONDS) + 1}),
):
    resource.setrlimit(limit, (value, value))
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({_NOBODY})
    os.setuid({_NOBODY})
length = int(sys.stdin.buffer.readline())
pattern, text = sys.stdin.buffer.read(length), sys.stdin.buffer.read()
try:
    found = re.compile(pattern.decode().rstrip("\\r\\n")).fullmatch(
        text.decode("utf-8", "replace").rstrip("\\r\\n"))
except (re.error, RecursionError, OverflowError, UnicodeDecodeError) as error:
    print("bad", error)
except MemoryError:
    print("bad it needs too much memory")
else:
    print("yes" if found else "no")
"""


def match(expected: Path, actual: Path, stopped: Callable[[], bool]) -> Judgement:
    """Newlines at the end of either count for nothing. Raises OSError, Stopped."""
    size = actual.stat().st_size
    if size > PATTERN_OUTPUT_BYTES:
        return _nobody_knows(
            f"the output has {size} bytes, a pattern is tried on {PATTERN_OUTPUT_BYTES} at most"
        )
    pattern = expected.read_bytes()
    answer = _ask(b"%d\n" % len(pattern) + pattern + actual.read_bytes(), stopped)
    if answer is None:
        return _nobody_knows(f"the pattern had no answer within {PATTERN_SECONDS:g} s")
    word, _, why = answer.partition(b" ")
    if word == b"yes":
        return Judgement(verdict=Verdict.AC)
    if word != b"no":
        said = why.decode("utf-8", "replace") or "its process was killed"
        return _nobody_knows(f"the pattern: {said}")
    shown = Difference(
        line=1,
        expected=cut_text(pattern, CASE_TEXT_BYTES),
        actual=cut_text(actual.read_bytes()[:CASE_TEXT_BYTES], CASE_TEXT_BYTES),
    )
    return Judgement(verdict=Verdict.WA, difference=shown)


def _ask(question: bytes, stopped: Callable[[], bool]) -> bytes | None:
    """None if there is no answer in time."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"LANG": "C.UTF-8", "PATH": os.defpath},
    ) as child:
        left_s = PATTERN_SECONDS
        given: bytes | None = question
        try:
            while True:
                try:
                    answer, _ = child.communicate(given, timeout=_LOOK_S)
                    return answer.strip()
                except subprocess.TimeoutExpired:
                    left_s, given = left_s - _LOOK_S, None
                if stopped():
                    raise Stopped
                if left_s <= 0:
                    return None
        finally:
            child.kill()


def _nobody_knows(why: str) -> Judgement:
    return Judgement(verdict=Verdict.IE, note=cut_text(why.encode(), CASE_NOTE_BYTES))
