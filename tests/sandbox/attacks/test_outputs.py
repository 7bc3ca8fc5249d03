"""What is written, how much, by whom and when: bounded, kept in order, and never believed."""

from __future__ import annotations

import pytest

from khala.model.limits import KIB, MIB
from khala.model.outcome import Reason
from tests.sandbox.attacks.attack import EXITED, Attack, cases, strike
from tests.sandbox.harness import PACE, Runner

_FLOOD = (Reason.OUTPUT_LIMIT,)
_LIMIT = {"output_bytes": 256 * KIB}


def _flood(name: str, command: str) -> Attack:
    return Attack(name=name, command=command, says=".*", reasons=_FLOOD, limits=_LIMIT)


_ATTACKS = [
    _flood("lines", "yes"),
    _flood("no newline", "tr '\\0' x </dev/zero"),
    _flood("zeros", "cat /dev/zero"),
    _flood("ones", "tr '\\0' '\\377' </dev/zero"),
    _flood("random", "cat /dev/urandom"),
    _flood("stderr", "yes >&2"),
    _flood("both at once", "yes & yes >&2"),
    _flood("single bytes", "perl -e '$| = 1; print 1 while 1'"),
    _flood("a grandchild", "(setsid yes &) ; sleep 20"),
    _flood("a grandchild after the end", "(setsid yes &) ; sleep 0.2; exec sleep 20"),
    _flood("many writers", "for i in $(seq 40); do yes $i & done; wait"),
    _flood("by name", "while :; do head -c 9999 /dev/zero > /dev/stdout; done"),
    _flood("by descriptor in proc", "while :; do head -c 9999 /dev/zero > /proc/self/fd/1; done"),
    _flood(
        "by the first process's descriptor",
        "while :; do head -c 9999 /dev/zero > /proc/1/fd/1; done",
    ),
    _flood("by a copy of the descriptor", "exec 9>&1 >&-; cat /dev/zero >&9"),
    _flood(
        "by splice",
        "python3 -c 'import os\nf = os.open(\"/dev/zero\", 0)\nwhile 1: os.sendfile(1, f, None, 65536) if 0 else os.writev(1, [bytes(65536)] * 8)'",
    ),
    _flood(
        "deaf to SIGPIPE", "trap '' PIPE; while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
    ),
    _flood("while the memory runs out of the box", "head -c 30M /dev/zero > f; yes"),
    _flood(
        "terminal sequences", "while :; do printf '\\033[2J\\033]0;owned\\007\\033[6n\\033c'; done"
    ),
    Attack(
        name="exactly the limit, then silence",
        command="head -c 262144 /dev/zero; sleep 0.1",
        says=".*",
        limits=_LIMIT,
    ),
    Attack(name="nothing", command=":"),
    Attack(name="closed at once", command="exec >&- 2>&-; echo lost; exit 0"),
    Attack(name="closed, then the end late", command="exec >&- 2>&-; sleep 0.3"),
    Attack(name="stdin closed", command="exec <&-; echo fine", says="fine"),
    Attack(name="zeros are kept", command="printf 'a\\0b\\0'", says="a\0b\0"),
    Attack(name="no newline at the end", command="printf abc", says="abc"),
    Attack(
        name="terminal sequences are kept",
        command="printf '\\033[31mred\\033]0;x\\007'",
        says="\x1b\\[31mred\x1b\\]0;x\x07",
    ),
    Attack(
        name="carriage returns and overstrikes",
        command="printf 'a\\rb\\b\\bc\\v\\f'",
        says="a\rb\b\bc\x0b\x0c",
    ),
    Attack(name="invalid UTF-8", command="printf '\\xff\\xfe\\xc0\\xaf\\xed\\xa0\\x80'", says=".+"),
    Attack(
        name="text that looks like an end",
        command="echo '[I][x] pid=1 exited with status: 0, '; exit 4",
        says=r"\[I\].*",
        reasons=(Reason.EXIT_NONZERO,),
    ),
    Attack(
        name="a crash with output in the pipe",
        command="head -c 60000 /dev/zero | tr '\\0' x; kill -9 $$",
        says="x{60000}",
        reasons=(Reason.SIGNAL,),
    ),
    Attack(
        name="a time-out with output in the pipe",
        command="head -c 60000 /dev/zero | tr '\\0' x; sleep 20",
        says="x{60000}",
        reasons=(Reason.WALL_TIME,),
        limits={"wall_ms": 400 * min(PACE, 6)},
    ),
    Attack(name="games with the pipe", command="./probe stdout_games", says="[ab]*"),
    Attack(
        name="settings of the pipe",
        command="./probe stdout_pipe",
        says="x{2000}",
        reasons=(*EXITED, Reason.SIGNAL),
    ),
    Attack(
        name="packets of one byte",
        command="./probe stdout_pipe; ./probe stdout_pipe",
        says="x{4000}",
        reasons=(*EXITED, Reason.SIGNAL),
    ),
    Attack(
        name="reading one's own output back",
        command="echo mine; timeout 0.2 cat /proc/self/fd/1; echo end",
        says="(mine\n)?end",
    ),
    Attack(
        name="outputs for reading and writing",
        command="exec 3<>/dev/stdout; echo both >&3",
        says="both",
    ),
    Attack(name="a long line on stderr", command="head -c 200000 /dev/zero >&2", limits=_LIMIT),
]


@cases(_ATTACKS)
async def test_outputs(runner: Runner, attack: Attack) -> None:
    ran = await strike(runner, attack)
    assert max(len(ran.stdout), len(ran.stderr)) <= max(256 * KIB, 1 * MIB)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_what_was_kept_is_the_beginning(runner: Runner, stream: str) -> None:
    ran = await runner.run(f"seq 1000000 >/dev/{stream}", output_bytes=10_000)
    expected = "\n".join(map(str, range(3000))).encode()
    assert ran.outcome.reason is Reason.OUTPUT_LIMIT
    assert getattr(ran, stream)[:5000] == b"1\n" + expected[4:5002]
