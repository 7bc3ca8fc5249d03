"""What the kernel counts for the whole host: no task may use it up, or go by its memory limit."""

from __future__ import annotations

import asyncio
import ctypes
import os

import pytest

from khala.model.limits import MIB
from khala.model.outcome import Reason
from tests.sandbox.attacks.attack import Attack, cases, strike
from tests.sandbox.attacks.host import MARK
from tests.sandbox.attacks.probe import PROBE
from tests.sandbox.harness import Runner

_SMALL = {"memory_bytes": 64 * MIB}
#: Version 2 counts what lies in a network's buffers as the task's; elsewhere the kernel's own bounds
#: of them are below the limit.
_COUNTED = (Reason.OK, Reason.MEMORY)
_ATTACKS = [
    Attack(name="watchers", command="./probe inotify", says="inotify: 0"),
    Attack(name="asynchronous requests", command="./probe aio", says="aio: 0"),
    # Counted by user: what a jail before it had may be on its way back to the kernel still.
    Attack(name="pending signals", command="./probe pending", says=r"pending: (9|10)\d\d"),
    Attack(name="timers", command="./probe timers", says=r"timers: 10\d\d"),
    Attack(name="message queues", command="./probe queues", says="queues: 2"),
    Attack(name="compiled filters", command="./probe filters", says="filters: 0"),
    Attack(name="large pages", command="./probe hugepages", says=r"(\w+: ENOMEM\n?){3}"),
    Attack(
        name="datagrams that nobody reads",
        command="./probe datagrams",
        says=r"(datagrams MiB: ([0-9]|[1-5]\d))?",
        reasons=_COUNTED,
        limits=_SMALL,
    ),
    Attack(
        name="streams that nobody reads",
        command="./probe streams",
        says=r"(streams MiB: ([0-9]|[1-5]\d))?",
        reasons=_COUNTED,
        limits=_SMALL,
    ),
    Attack(
        name="local datagrams that nobody reads",
        command="./probe datagrams unix",
        reasons=(Reason.MEMORY,),
        limits=_SMALL,
    ),
    Attack(name="large pipes", command="./probe pipes", reasons=(Reason.MEMORY,), limits=_SMALL),
]


@cases(_ATTACKS)
async def test_shared(runner: Runner, attack: Attack) -> None:
    await strike(runner, attack)


@pytest.mark.parametrize("name", ["inotify", "aio", "pending", "timers", "queues"])
async def test_the_host_keeps_its_share(runner: Runner, name: str) -> None:
    """While a task holds all it can get, root's own programs still get theirs."""
    cancel = asyncio.Event()
    job = runner.job(f"chmod +x probe; HOLD=1 ./probe {name}", memory_bytes=128 * MIB)
    async with runner.sandbox.box(0) as box, asyncio.TaskGroup() as group:
        await box.put("probe", PROBE.path())
        running = group.create_task(box.run(job, cancel))
        while not os.path.exists(job.stdout) or not os.path.getsize(job.stdout):
            assert not running.done(), running.result()
            await asyncio.sleep(0.01)
        _use_everything()
        cancel.set()


def _use_everything() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def check(what: str, result: int) -> int:
        assert result >= 0, f"{what}: {os.strerror(ctypes.get_errno())}"
        return result

    os.close(check("inotify", libc.inotify_init1(0)))
    timer = ctypes.c_void_p()
    check("timer", libc.timer_create(1, None, ctypes.byref(timer)))
    libc.timer_delete(timer)
    context = ctypes.c_ulong()
    check("aio", libc.syscall(206, 128, ctypes.byref(context)))
    libc.syscall(207, context)
    name = f"/{MARK}".encode()
    os.close(check("queue", libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None)))
    libc.mq_unlink(name)
