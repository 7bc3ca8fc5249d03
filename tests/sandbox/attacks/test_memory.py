"""Memory of every kind counts, and the reason says so."""

from __future__ import annotations

from khala.model.limits import MIB
from khala.model.outcome import Reason
from tests.sandbox.attacks.attack import EXITED, Attack, cases, strike
from tests.sandbox.harness import Runner

_LIMITS = {"memory_bytes": 40 * MIB}
_OVER = (Reason.MEMORY,)


def _over(name: str, command: str, says: str = "") -> Attack:
    return Attack(name=name, command=command, says=says, reasons=_OVER, limits=_LIMITS)


_ATTACKS = [
    _over("anonymous", "./probe anonymous 200"),
    _over("anonymous, much more than the host has", "./probe anonymous 900000"),
    _over("shared anonymous", "./probe anonymous 200 shared"),
    _over("populated at once", "./probe populate 200"),
    _over("heap", "./probe heap 200"),
    _over("stack", "./probe stack 200 again"),
    _over("memfd", "./probe memfd 100"),
    _over("memfd by fallocate", "./probe memfd 100 allocate"),
    _over("System V segments, detached", "./probe segments 200"),
    _over("System V messages", "./probe messages"),
    _over("page tables", "./probe tables"),
    _over(
        "many processes",
        "for i in 1 2 3 4 5; do ./probe anonymous 15 & done; wait",
        r"(filled: 15 MiB\n?)*",
    ),
    _over(
        "many shared mappings of one file",
        "./probe memfd 30 & ./probe memfd 30 & wait",
        # One may be through before the other needs more than there is; and when the kernel has
        # killed that one for it, there is enough for the other, before all of the task is killed.
        r"(filled: 30 MiB\n?){0,2}",
    ),
    _over("files in the box", "head -c 60M /dev/zero > f; ./probe anonymous 30"),
    _over("files in tmp", "head -c 39M /dev/zero > /tmp/f; ./probe anonymous 30"),
    _over("files in shared memory", "head -c 39M /dev/zero > /dev/shm/f; ./probe anonymous 30"),
    _over(
        "deleted files held open", "exec 3>f; rm f; head -c 30M /dev/zero >&3; ./probe anonymous 30"
    ),
    _over(
        "empty files",
        'python3 -c \'import os; [os.symlink("x" * 4000, f"{d}/{i}") for d in (".", "/tmp",'
        ' "/dev/shm") for i in range(990)]\'; ./probe anonymous 34',
    ),
    _over("a long line in bash", "x=$(head -c 100M /dev/zero | tr '\\0' x); echo ${#x}"),
    _over("a child, and its parent goes on", "./probe anonymous 200; sleep 20; echo ESCAPE"),
    _over("a daemon", "(setsid ./probe anonymous 200 &) ; sleep 20; echo ESCAPE"),
    _over("the first process is the largest", "exec ./probe anonymous 200"),
    _over("while output floods", "while :; do echo x; done & ./probe anonymous 200", r"[x\n]*"),
    _over("while forking", "(while :; do sleep 1 & done) & ./probe anonymous 200"),
    _over("while all is stopped", "(sleep 20 & kill -STOP $!) ; ./probe anonymous 200"),
    _over(
        "environments",
        "a=$(head -c 130000 /dev/zero | tr '\\0' x); for i in $(seq 40); do A=$a sleep 20 & done;"
        " ./probe anonymous 37",
    ),
    Attack(
        name="locked",
        command="./probe locked 30",
        says=r"mlock: ENOMEM\nmlockall: ENOMEM\nMAP_LOCKED: EAGAIN\nSHM_LOCK: ENOMEM",
    ),
    Attack(name="mappings", command="./probe mappings", says="mappings: bounded"),
    Attack(
        name="semaphores",
        command="./probe semaphores",
        says=r"semaphores: \d+|",
        reasons=(Reason.OK, Reason.MEMORY),
    ),
    Attack(
        name="page cache of the host's files is not held against a task",
        command="cat /usr/bin/* /usr/lib/x86_64-linux-gnu/*.so* 2>&- | head -c 300M | wc -c",
        says=r"\d{8,}",
        limits={"memory_bytes": 32 * MIB},
    ),
    Attack(
        name="hints about the host's page cache",
        command="python3 -c 'import os; f = os.open(\"/usr/bin/env\", 0); os.posix_fadvise(f, 0, 0, 4); print(1)'",
        says="1",
    ),
    Attack(
        name="out of memory without a process to blame",
        command="head -c 25M /dev/zero > f; head -c 30M /dev/zero > /tmp/g; echo $?",
        says=r"\d*",
        reasons=(*_OVER, *EXITED),
        limits=_LIMITS,
    ),
]


@cases(_ATTACKS)
async def test_memory(runner: Runner, attack: Attack) -> None:
    await strike(runner, attack)


async def test_the_executor_is_not_the_one_that_is_killed(runner: Runner) -> None:
    """Memory that belongs to no process of the jail ends the jail, time after time."""
    fill = "for d in /tmp /dev/shm .; do head -c 30M /dev/zero > $d/f; done; sleep 20"
    for _ in range(3):
        await strike(runner, _over("files", fill))


async def test_objects_of_system_v_do_not_outlive_a_task(runner: Runner) -> None:
    for _ in range(2):
        await strike(runner, Attack(name="leave", command="./probe ipc", says="new new new"))
