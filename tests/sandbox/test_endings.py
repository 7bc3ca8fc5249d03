"""However a stage ends, its whole tree ends with it; and who ended it is told apart."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from khala.model.outcome import Reason
from khala.model.spec import Stage
from sandbox import Job, SandboxLost
from sandbox.nsjail import spare
from tests.sandbox.harness import PACE, Ran, Runner, leftovers, until

_HIDE = r"""
import ctypes, os, signal, time
libc = ctypes.CDLL(None)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        libc.prctl(1, 0)  # no parent-death signal
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        time.sleep(60)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("sleep 61 & exit 0", id="background"),
        pytest.param("setsid sleep 61 >/dev/null 2>&1 & exit 0", id="own session"),
        pytest.param("nohup sleep 61 & disown; exit 0", id="nohup"),
        pytest.param("sleep 61 & kill -STOP $!; exit 0", id="stopped"),
        pytest.param("python3 hide.py; exit 0", id="daemon deaf to signals"),
    ],
)
async def test_what_a_command_leaves_running_is_killed(runner: Runner, command: str) -> None:
    async with runner.sandbox.box(0) as box:
        await box.put("hide.py", _HIDE.encode())
        ran = await runner.finish(box, runner.job(command))
        assert leftovers_but_box(runner) == []
    assert ran.outcome.reason is Reason.OK
    assert ran.outcome.wall_ms < 10_000


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("kill -STOP $$", id="stops itself"),
        pytest.param("for i in $(seq 40); do sleep 61 & done; kill -STOP -1; wait", id="stops all"),
        pytest.param("python3 hide.py; sleep 61", id="daemon deaf to signals"),
        pytest.param("exec >&- 2>&-; sleep 61", id="closes its outputs"),
    ],
)
async def test_a_time_limit_kills_everything(runner: Runner, command: str) -> None:
    async with runner.sandbox.box(0) as box:
        await box.put("hide.py", _HIDE.encode())
        ran = await runner.finish(box, runner.job(command, wall_ms=400))
        assert leftovers_but_box(runner) == []
    assert ran.outcome.reason is Reason.WALL_TIME


def leftovers_but_box(runner: Runner) -> list[str]:
    """An empty group stays until the box is taken down."""
    left = leftovers(runner.config)
    return [item for item in left if not item.startswith(("khala-box", "/sys/fs/cgroup/"))]


async def test_cancel(runner: Runner) -> None:
    cancel = asyncio.Event()
    job = runner.job("echo begun; sleep 61")
    async with runner.sandbox.box(0) as box, asyncio.TaskGroup() as group:
        running = group.create_task(runner.finish(box, job, cancel))
        await runner.until_running("sleep")
        cancel.set()
        ran = await running
    assert ran.outcome.reason is Reason.CANCELLED
    assert ran.outcome.exit_code is None
    assert ran.stdout == b"begun\n"


async def test_cancel_at_once(runner: Runner) -> None:
    cancel = asyncio.Event()
    async with runner.sandbox.box(0) as box, asyncio.TaskGroup() as group:
        running = group.create_task(box.run(runner.job("sleep 61"), cancel))
        # The stage has been started, its jail not yet made.
        await asyncio.sleep(0)
        cancel.set()
        outcome = await running
        assert outcome.reason is Reason.CANCELLED
        outcome = await box.run(runner.job("sleep 61"), cancel)
    assert outcome.reason is Reason.CANCELLED


#: Says that it was asked to end, and takes a moment for it.
_TIDY = """
import signal, sys, time
def end(*_):
    print("asked", flush=True)
    time.sleep(0.2)
    print("tidy", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print("begun", flush=True)
time.sleep(61)
"""


async def _cancelled(runner: Runner, job: Job, grace_s: float) -> Ran:
    """Asked to end as soon as it has said that it has begun."""
    cancel = asyncio.Event()
    job = replace(job, grace_s=lambda: grace_s)
    async with runner.sandbox.box(0) as box, asyncio.TaskGroup() as group:
        await box.put("tidy.py", _TIDY.encode())
        running = group.create_task(runner.finish(box, job, cancel))
        stdout = Path(job.stdout)
        begun = lambda: stdout.exists() and stdout.read_bytes().startswith(b"begun")  # noqa: E731
        await until(begun, lambda: "it does not begin")
        cancel.set()
        return await running


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("python3 tidy.py", "asked tidy"),
        ("exec python3 tidy.py", "asked tidy"),
        ("python3 tidy.py; echo after", "asked tidy after"),
        ("python3 tidy.py & wait", "asked tidy"),
        ("setsid python3 tidy.py", "asked tidy"),
        ("bash -c 'python3 tidy.py; true' & wait", "asked tidy"),
        ("trap 'echo trapped' TERM; python3 tidy.py", "asked tidy trapped"),
        ("trap 'echo trapped; exit' TERM; echo begun; while :; do sleep 0.01; done", "trapped"),
    ],
)
async def test_what_is_cancelled_is_asked_to_end(runner: Runner, command: str, said: str) -> None:
    ran = await _cancelled(runner, runner.job(command), 60.0)
    assert ran.text.split() == ["begun", *said.split()]
    assert ran.outcome.reason is Reason.CANCELLED
    await runner.quiet()


async def test_what_does_not_end_when_asked_is_killed(runner: Runner) -> None:
    ran = await _cancelled(runner, runner.job("trap '' TERM; echo begun; sleep 61; echo no"), 0.2)
    assert (ran.outcome.reason, ran.text) == (Reason.CANCELLED, "begun\n")
    await runner.quiet()


async def test_whoever_is_asked_to_end_keeps_its_limits(runner: Runner) -> None:
    job = runner.job("trap '' TERM; echo begun; sleep 61", wall_ms=1500 * min(PACE, 6))
    ran = await _cancelled(runner, job, 60.0)
    assert (ran.outcome.reason, ran.text) == (Reason.CANCELLED, "begun\n")
    await runner.quiet()


async def test_more_processes_than_descriptors_are_asked_to_end(runner: Runner) -> None:
    command = "for n in $(seq 150); do sleep 61 & done; echo begun; wait; echo after"
    ran = await _cancelled(runner, runner.job(command, pids=200), 60.0)
    assert (ran.outcome.reason, ran.text) == (Reason.CANCELLED, "begun\nafter\n")


async def test_cancelling_the_caller_kills_first(runner: Runner) -> None:
    async def use_box() -> None:
        async with runner.sandbox.box(0) as box:
            await box.run(runner.job("sleep 61"), asyncio.Event())

    async with asyncio.TaskGroup() as group:
        running = group.create_task(use_box())
        await runner.until_running("sleep")
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        await runner.quiet()


async def _run_and(runner: Runner, act: Callable[[int], None]) -> Ran:
    """Run a long command, and do `act` with the pid of its nsjail."""
    async with runner.sandbox.box(0) as box:
        await box.put("hide.py", _HIDE.encode())
        running = asyncio.ensure_future(
            runner.finish(box, runner.job("python3 hide.py; sleep 61; exit 0"))
        )
        pids = await runner.until_running("sleep")
        act(pids["nsjail"])
        return await running


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _kill_child(pid: int) -> None:
    os.kill(_child_of(pid), signal.SIGKILL)


def _terminate(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("act", [_kill, _kill_child, _terminate])
async def test_destroyed_from_outside(runner: Runner, act: Callable[[int], None]) -> None:
    with pytest.raises(SandboxLost, match="from outside"):
        await _run_and(runner, act)
    await runner.quiet()


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def test_nsjail_is_spared_by_the_out_of_memory_killer(runner: Runner) -> None:
    scores = {}

    def look(pid: int) -> None:
        spare(pid)
        for name, one in (("nsjail", pid), ("jail", _child_of(pid))):
            scores[name] = int(Path(f"/proc/{one}/oom_score_adj").read_text())
        _kill_child(pid)

    with pytest.raises(SandboxLost):
        await _run_and(runner, look)
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert scores == {"nsjail": own, "jail": 1000}


async def test_outputs_grow_while_it_runs(runner: Runner) -> None:
    job = runner.job("echo one; sleep 61")
    cancel = asyncio.Event()
    async with runner.sandbox.box(0) as box, asyncio.TaskGroup() as group:
        running = group.create_task(box.run(job, cancel))
        await runner.until_running("sleep")
        await until(lambda: Path(job.stdout).read_bytes() == b"one\n", lambda: "nothing is read")
        cancel.set()
        await running


async def test_an_unwritable_output_is_the_hosts_trouble(runner: Runner) -> None:
    job = runner.job("yes")
    Path(job.stdout).symlink_to("/dev/full")
    async with runner.sandbox.box(0) as box:
        with pytest.raises(OSError, match="No space left"):
            await box.run(job, asyncio.Event())


async def test_both_slots_at_once(runner: Runner) -> None:
    async def repeat(slot: int) -> None:
        for number in range(8):
            ran = await runner.run(f"echo {slot} {number} >&2; exit {number}", slot=slot)
            assert ran.stderr == f"{slot} {number}\n".encode()
            assert ran.outcome.exit_code == number

    async with asyncio.TaskGroup() as group:
        for slot in range(2):
            group.create_task(repeat(slot))


async def test_stages_share_the_box_and_nothing_outlives_it(runner: Runner) -> None:
    async with runner.sandbox.box(0) as box:
        job = runner.job("echo made > made; echo kept > /tmp/kept", stage=Stage.COMPILE)
        assert (await runner.finish(box, job)).outcome.reason is Reason.OK
        ran = await runner.finish(box, runner.job("cat made /tmp/kept; ls /dev/shm"))
        assert ran.stdout == b"made\nkept\n"
    ran = await runner.run("find . /tmp")
    assert sorted(ran.text.split()) == [".", "./data", "./execute.sh", "/tmp"]
