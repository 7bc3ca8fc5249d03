"""One real child: started, listened to, stopped, restarted, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from khala.model.errors import InvariantBroken
from khala.supervise import child as child_module
from khala.supervise.child import Child, ChildSpec, State
from khala.supervise.lines import LINES_BURST, LINES_PER_S
from tests.unit.supervise.conftest import Run
from tests.unit.supervise.waiting import is_alive, until, wait_until


def shell(script: str, **changes: object) -> ChildSpec:
    spec = {"name": "child", "argv": ("sh", "-c", script), **changes}
    return ChildSpec(**spec)  # type: ignore[arg-type]


@asynccontextmanager
async def supervised(spec: ChildSpec) -> AsyncIterator[tuple[Child, list[State]]]:
    """A child under supervision, and the states it goes through."""
    states: list[State] = []
    child = Child(spec, lambda: states.append(child.view.state))
    running = asyncio.create_task(child.run())
    try:
        yield child, states
    finally:
        child.stop()
        await running


def pid_of(child: Child) -> int:
    pid = child.view.pid
    assert pid is not None
    return pid


async def until_up(child: Child) -> int:
    await until(lambda: child.view.state is State.UP)
    return pid_of(child)


def test_a_child_is_seen_as_it_is(run: Run) -> None:
    async def main() -> None:
        async with supervised(shell("exec sleep 1000")) as (child, states):
            pid = await until_up(child)
            await until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00")
            assert os.getsid(pid) == pid != os.getsid(0)
        assert not is_alive(pid)
        assert child.view.state is State.STOPPED and child.view.pid is None
        assert states == [State.STARTING, State.STARTING, State.UP, State.STOPPED]

    run(main())


def test_a_child_is_up_when_its_probe_says_so(run: Run, tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    async def probe() -> bool:
        return ready.exists()

    async def main() -> None:
        async with supervised(shell("exec sleep 1000", probe=probe)) as (child, states):
            await until(lambda: child.view.pid is not None)
            await asyncio.sleep(0.2)
            assert not child.settled.is_set() and State.UP not in states
            ready.touch()
            await child.settled.wait()
            assert states[-1] is State.UP

    run(main())


def test_a_child_that_ignores_a_stop_is_killed_with_its_group(run: Run, tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 1000 & echo $! > {tmp_path}/pid; while :; do wait; done"

    async def main() -> None:
        async with supervised(shell(script, stop_s=0.3)) as (child, _):
            pid = await until_up(child)
            await until(lambda: (tmp_path / "pid").exists() and bool(_read(tmp_path / "pid")))
            began = time.monotonic()
        assert time.monotonic() - began >= 0.3
        assert not is_alive(pid)
        await until(lambda: not is_alive(int(_read(tmp_path / "pid"))))

    run(main())


def test_a_child_may_take_its_time_to_stop(run: Run, tmp_path: Path) -> None:
    script = (
        f"trap 'sleep 0.3; touch {tmp_path}/clean; exit' TERM; echo; while :; do sleep 0.02; done"
    )
    said: list[str] = []

    async def main() -> None:
        async with supervised(shell(f"{script}", on_line=said.append)) as (child, _):
            await until_up(child)
            # The shell has set its trap when it sleeps for the first time.
            await until(lambda: _children_of(pid_of(child)) != "")
        assert (tmp_path / "clean").exists()

    run(main())


def test_a_stop_while_it_starts_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        for delay_s in (0.0, 0.001, 0.005, 0.02):
            async with supervised(shell("exec sleep 1000.5")):
                await asyncio.sleep(delay_s)
            assert not _running("sleep\x001000.5")

    run(main())


def test_a_cancelled_supervisor_stops_its_child(run: Run) -> None:
    async def main() -> None:
        child = Child(shell("exec sleep 1000"), lambda: None)
        running = asyncio.create_task(child.run())
        pid = await until_up(child)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled() and not is_alive(pid)

    run(main())


def test_a_killed_child_comes_back_within_a_second(run: Run) -> None:
    async def main() -> None:
        async with supervised(shell("exec sleep 1000")) as (child, states):
            first = await until_up(child)
            os.kill(first, signal.SIGKILL)
            await until(lambda: child.view.restarts == 1)
            assert await until_up(child) != first
            assert child.view.last_exit == "killed by SIGKILL"
            assert states[-4:] == [State.BACKOFF, State.STARTING, State.STARTING, State.UP]

    run(main())


def test_a_role_that_refuses_is_not_started_again(run: Run) -> None:
    async def main() -> None:
        async with supervised(shell("exit 2")) as (child, _):
            await until(lambda: child.view.state is State.FAILED)
            assert child.refused and child.settled.is_set()
            assert child.view.last_exit == "exited with 2" and child.view.restarts == 0

    run(main())


def test_a_database_that_fails_alike_has_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With exit code 2, which means nothing when it is not a role of ours that ends with it."""
    monkeypatch.setattr("khala.supervise.restarts.BACKOFF_MIN_S", 0.01)

    async def main() -> None:
        async with supervised(shell("exit 2", may_give_up=True)) as (child, _):
            await until(lambda: child.view.state is State.FAILED)
            assert child.settled.is_set() and not child.refused
            assert child.view.restarts == 4
            assert child.view.last_exit == "exited with 2, again and again; tried once a minute"

    run(main())


def test_a_database_that_has_failed_comes_back_when_it_can(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("khala.supervise.restarts.BACKOFF_MIN_S", 0.01)
    monkeypatch.setattr("khala.supervise.restarts.FAILED_PAUSE_S", 0.05)
    script = f"[ -e {tmp_path}/room ] && exec sleep 1000; exit 14"

    async def serves() -> bool:
        return (tmp_path / "room").exists()

    async def main() -> None:
        async with supervised(shell(script, may_give_up=True, probe=serves)) as (child, states):
            await until(lambda: State.FAILED in states)
            (tmp_path / "room").touch()
            await until_up(child)

    run(main())


def test_a_child_that_cannot_be_spawned_is_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    async def main() -> None:
        async with supervised(shell("exit 0")) as (child, _):
            await until(lambda: child.view.state is State.BACKOFF)
            assert child.view.last_exit is not None
            assert child.view.last_exit.startswith("could not be started: ")
            assert "setpriv" in child.view.last_exit

    run(main())


def test_last_words_are_heard(run: Run) -> None:
    said: list[str] = []

    async def main() -> None:
        spec = shell(
            "echo out; echo err >&2; printf 'the disk is full'; exit 3", on_line=said.append
        )
        async with supervised(spec) as (child, _):
            await until(lambda: child.view.state is State.BACKOFF)
            assert said == ["out", "err", "the disk is full"]

    run(main())


def test_a_grandchild_with_the_pipe_does_not_hold_up_a_restart(run: Run, tmp_path: Path) -> None:
    said: list[str] = []
    script = f"setsid sleep 1000 & echo $! > {tmp_path}/pid; exit 3"

    async def main() -> None:
        async with supervised(shell(script, on_line=said.append)) as (child, _):
            await until(lambda: child.view.state is State.BACKOFF)
        os.kill(int(_read(tmp_path / "pid")), signal.SIGKILL)

    run(main())


def test_a_flood_blocks_neither_child_nor_loop(run: Run, tmp_path: Path) -> None:
    """20 MB of lines and one endless line; then the child says that it got through."""
    said: list[str] = []
    script = (
        "yes 'a line of a child that went mad' | head -c 20000000;"
        " head -c 5000000 /dev/zero | tr '\\0' x; echo;"
        f" touch {tmp_path}/through; exec sleep 1000"
    )

    async def main() -> None:
        began_at = time.monotonic()
        async with supervised(shell(script, on_line=said.append)) as (child, _):
            await until_up(child)
            await until((tmp_path / "through").exists)
        # However long that takes here; with each line of the second kind comes a note of others.
        allowed = LINES_BURST + 2 * (time.monotonic() - began_at) * LINES_PER_S
        assert LINES_BURST <= len(said) <= allowed + 10
        assert any(line.endswith(" lines dropped") for line in said)

    run(main())


def test_a_silent_child_is_killed_and_restarted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "WATCHDOG_TICK_S", 0.1)
    feeder = (
        "import os, sys, time\n"
        "fd = int(sys.argv[sys.argv.index('--watchdog-fd') + 1])\n"
        "print('ready')\n"
        "while True: os.write(fd, b'.'); time.sleep(0.05)\n"
    )
    said: list[str] = []

    async def probe() -> bool:
        return bool(said)

    spec = ChildSpec(
        name="feeder",
        argv=(sys.executable, "-uc", feeder),
        watchdog=True,
        probe=probe,
        on_line=said.append,
    )

    async def main() -> None:
        async with supervised(spec) as (child, _):
            first = await until_up(child)
            await asyncio.sleep(1.5)
            assert pid_of(child) == first and child.view.restarts == 0
            os.kill(first, signal.SIGSTOP)
            await until(lambda: child.view.restarts == 1)
            assert child.view.last_exit == "killed by SIGKILL" and not is_alive(first)

    run(main())


def test_a_child_that_still_starts_may_be_silent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "WATCHDOG_TICK_S", 0.02)

    async def never() -> bool:
        return False

    async def main() -> None:
        async with supervised(shell("exec sleep 1000 #", watchdog=True, probe=never)) as (child, _):
            await until(lambda: child.view.pid is not None)
            await asyncio.sleep(3 * 0.02 * child_module.WATCHDOG_TICKS)
            assert child.view.restarts == 0 and child.view.last_exit is None

    run(main())


def test_only_service_makes_healthy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """That an earlier life has served must not let later ones hammer."""
    monkeypatch.setattr("khala.supervise.restarts.BACKOFF_MIN_S", 0.05)
    monkeypatch.setattr("khala.supervise.restarts.HEALTHY_S", 0.0001)
    lives = 0

    async def first_life() -> bool:
        return lives == 1

    async def main() -> None:
        nonlocal lives
        lives = 1
        async with supervised(shell("exec sleep 0.1", probe=first_life)) as (child, _):
            await until_up(child)
            lives = 2
            await until(lambda: child.view.restarts == 1)
            began_at = time.monotonic()
            await until(lambda: child.view.restarts == 4)
            assert time.monotonic() - began_at >= 3 * 0.1 + 0.1 + 0.2 + 0.4

    run(main())


def test_nothing_is_left_open(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("khala.supervise.restarts.BACKOFF_MIN_S", 0.01)

    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        async with supervised(shell("exec sleep 1000", on_line=print, watchdog=True)) as (child, _):
            for _ in range(3):
                pid, count = await until_up(child), child.view.restarts
                os.kill(pid, signal.SIGTERM)
                await until(lambda: child.view.restarts > count)  # noqa: B023
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the loop's own watcher

    run(main())


def test_another_thread_may_not_spawn() -> None:
    def main() -> None:
        asyncio.run(Child(shell("exec sleep 1000"), lambda: None).run())

    with ThreadPoolExecutor() as threads, pytest.raises(InvariantBroken):
        threads.submit(main).result()


@pytest.mark.parametrize("death_signal", ["TERM", "KILL"])
def test_kill_minus_9_of_the_parent_ends_the_child(death_signal: str, tmp_path: Path) -> None:
    script = "trap 'touch clean; exit' TERM; echo $$ > pid; while :; do sleep 0.02; done"
    parent_source = (
        "import asyncio\n"
        "from khala.supervise.child import Child, ChildSpec\n"
        "import sys\n"
        "argv = ('sh', '-c', sys.argv[1])\n"
        "spec = ChildSpec(name='child', argv=argv, death_signal=sys.argv[2])\n"
        "asyncio.run(Child(spec, lambda: None).run())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    argv = [sys.executable, "-c", parent_source, script, death_signal]
    with subprocess.Popen(argv, cwd=tmp_path, env=environment) as parent:
        wait_until(lambda: (tmp_path / "pid").exists() and bool(_read(tmp_path / "pid")))
        pid = int(_read(tmp_path / "pid"))
        assert is_alive(pid)
        parent.kill()
    wait_until(lambda: not is_alive(pid))
    assert (tmp_path / "clean").exists() is (death_signal == "TERM")


def _read(path: Path) -> str:
    return path.read_text().strip()


def _running(command: str) -> list[Path]:
    """Processes of this name; ours alone, as nobody else sleeps for such a time."""
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if command in _text(path)]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _children_of(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/task/{pid}/children"))
