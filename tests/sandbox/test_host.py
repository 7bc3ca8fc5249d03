"""Opening and closing, what the host must offer, and what is left when the service is killed."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from khala.model.enforcement import Mode
from khala.model.errors import Rejected
from khala.model.outcome import Reason, StageOutcome
from sandbox import Sandbox, SandboxConfig, cgroup_v1, staging, subtree
from tests.sandbox.harness import (
    MODE,
    PATIENCE_S,
    UID_BASE,
    Runner,
    everything,
    find_nsjail,
    folders,
    guarded,
    jail_processes,
    wait_for,
    waiting_jails,
)

_UID_BASE = UID_BASE + 150
_GUARDIAN = "khala-guardian"


@pytest.fixture
def config() -> Iterator[SandboxConfig]:
    made = SandboxConfig(
        nsjail=find_nsjail(),
        name=f"test-host-{secrets.token_hex(4)}",
        slots=2,
        warm=2,
        uid_base=_UID_BASE,
        allow_degraded=MODE is Mode.DEGRADED,
    )
    yield made
    wait_for(lambda: not folders(made), "folders were left")


def _start(config: SandboxConfig, loop: str, command: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.sandbox.life",
            msgspec.json.encode(config).decode(),
            loop,
            command,
            *words,
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def _processes(config: SandboxConfig, name: str) -> list[int]:
    """Pids of the sandbox's jails, and of their nsjails, whose program has that name."""
    found = []
    for pid in jail_processes(config):
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
    return found


def _guardians(config: SandboxConfig) -> list[int]:
    """Those that live; the command line of a zombie is empty."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if _GUARDIAN.encode() in words and any(config.name.encode() in word for word in words):
            found.append(int(entry.name))
    return found


def _living(config: SandboxConfig) -> list[str]:
    """As `everything`; zombies are process 1's to reap."""
    return [item for item in everything(config) if "zombie" not in item]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_both_event_loops(config: SandboxConfig, loop: str) -> None:
    with _start(config, loop, "echo $KHALA; cat; exit 3") as process:
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    outcomes = [msgspec.json.decode(line, type=StageOutcome) for line in output.splitlines()]
    assert [(one.reason, one.exit_code) for one in outcomes] == [(Reason.EXIT_NONZERO, 3)] * 2
    assert everything(config) == [] and _guardians(config) == []


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_output_limit_under_both_event_loops(config: SandboxConfig, loop: str) -> None:
    with _start(config, loop, "yes") as process:
        output, _ = process.communicate(timeout=PATIENCE_S)
    outcomes = [msgspec.json.decode(line, type=StageOutcome) for line in output.splitlines()]
    assert [one.reason for one in outcomes] == [Reason.OUTPUT_LIMIT] * 2


def test_nothing_survives_the_killing_of_the_service(config: SandboxConfig) -> None:
    with _start(config, "asyncio", "setsid sleep 700 & sleep 700") as process:
        wait_for(lambda: len(_processes(config, "sleep")) == 2, "the command does not run")
        process.kill()
    wait_for(lambda: not _living(config) and not _guardians(config), "something survived")


@guarded
def test_a_service_that_hangs_is_killed_with_its_jails(config: SandboxConfig) -> None:
    with _start(config, "asyncio", "setsid sleep 700 & sleep 700", "watched") as process:
        wait_for(lambda: len(_processes(config, "sleep")) == 2, "the command does not run")
        assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: process.poll() == -signal.SIGKILL, "it hangs for good")
    wait_for(lambda: not _living(config) and not _guardians(config), "something survived")


@guarded
async def test_a_successor_clears_what_even_the_guardian_could_not(config: SandboxConfig) -> None:
    with _start(config, "asyncio", "setsid sleep 700 & sleep 700") as process:
        wait_for(lambda: len(_processes(config, "sleep")) == 2, "the command does not run")
        wait_for(lambda: waiting_jails(config), "no jail waits")
        (guardian,) = _guardians(config)
        os.kill(guardian, signal.SIGKILL)
        process.kill()
    wait_for(lambda: not waiting_jails(config), "a jail waits for a service that is gone")
    assert len(_processes(config, "sleep")) == 2
    sandbox = await Sandbox.open(config)
    assert _living(config) == []
    await sandbox.close()


def test_a_signal_to_the_terminals_group_does_not_reach_the_jails(config: SandboxConfig) -> None:
    with _start(config, "asyncio", "sleep 700") as process:
        wait_for(lambda: _processes(config, "sleep"), "the command does not run")
        for jailer in _processes(config, "nsjail"):
            assert os.getsid(jailer) == jailer
        for guardian in _guardians(config):
            assert os.getsid(guardian) == guardian
        process.kill()
    wait_for(lambda: not _living(config), "something survived")


async def test_a_name_is_used_once(
    runner: Runner, config: SandboxConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subtree, "LOCK_WAIT_S", 0.05)
    with pytest.raises(Rejected, match=r"another sandbox named .* is open"):
        await Sandbox.open(msgspec.structs.replace(config, name=runner.config.name))


@guarded
async def test_a_killed_guardian_is_replaced(runner: Runner) -> None:
    (guardian,) = _guardians(runner.config)
    os.kill(guardian, signal.SIGKILL)
    wait_for(lambda: not _guardians(runner.config), "the guardian is immortal")
    assert (await runner.run("exit 4")).outcome.exit_code == 4
    assert len(_guardians(runner.config)) == 1


async def test_nsjail_makes_nothing_in_everybodys_folders(runner: Runner) -> None:
    before = {folder: _nsjails_in(folder) for folder in ("/tmp", "/dev/shm")}
    await runner.run(":")
    assert {folder: _nsjails_in(folder) for folder in before} == before
    assert _nsjails_in("/run/user"), "it makes them here, on a mount of this process alone"


def _nsjails_in(folder: str) -> list[tuple[str, float]]:
    """Names and when something was last made in them."""
    return [(str(path), path.stat().st_ctime) for path in Path(folder).glob("nsjail*")]


async def test_two_sandboxes_of_one_process(config: SandboxConfig, runner: Runner) -> None:
    sandbox = await Sandbox.open(config)
    assert (await runner.run("exit 5")).outcome.exit_code == 5
    await sandbox.close()
    assert (await runner.run("exit 6")).outcome.exit_code == 6


async def test_the_host_does_not_see_the_mounts(runner: Runner) -> None:
    async with runner.sandbox.box(0):
        assert "khala-box" in Path("/proc/self/mounts").read_text()
        # In mode `degraded` process 1 is the service's own, and the host is out of sight.
        if runner.sandbox.enforcement.mode is not Mode.DEGRADED:
            assert "khala-box" not in Path("/proc/1/mounts").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"nsjail": "/nonexistent"}, "--nsjail-bin: /nonexistent is not", id="none"),
        pytest.param({"nsjail": "/usr"}, "--nsjail-bin: /usr is not a program", id="a folder"),
        pytest.param({"nsjail": "/bin/true"}, "a trial jail did not work", id="another program"),
        pytest.param({"name": "a/b"}, "--name: 'a/b' must be", id="name with a slash"),
        pytest.param({"name": ".."}, "--name: '..' must be", id="name with dots"),
        pytest.param({"slots": 0}, "--slots must be 1 to .*; 0 was given", id="no slots"),
        pytest.param({"exposed": ("/nonexistent",)}, "--expose: /nonexistent", id="no folder"),
        pytest.param({"exposed": ("opt",)}, "--expose: opt: opt is not an absolute", id="relative"),
        pytest.param({"exposed": ("/tmp",)}, "--expose: /tmp: /tmp is part of", id="shadowed"),
        pytest.param({"exposed": ("/usr/lib",)}, "/usr/lib is part of every", id="there already"),
        pytest.param({"exposed": ("/",)}, "--expose: /: / is not a directory", id="everything"),
    ],
)
async def test_refused_settings(
    config: SandboxConfig, changes: dict[str, object], message: str
) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Rejected, match=message):
        await Sandbox.open(msgspec.structs.replace(config, **changes))
    assert set(os.listdir("/proc/self/fd")) == before
    assert config.name not in Path("/proc/self/mounts").read_text()
    assert _guardians(config) == []


@pytest.mark.skipif(MODE is not None, reason="needs a host of which the mode is known")
async def test_without_cgroups_it_says_what_would_not_be_enforced(
    config: SandboxConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Rejected) as refused:
        await Sandbox.open(msgspec.structs.replace(config, allow_degraded=False))
    assert refused.value.field == "--allow-degraded"
    message = refused.value.message
    assert "without root there is no cgroup v1" in message
    assert "memory, pids, cpu are bound to cgroup v1" in message
    assert "shared memory; files in memory as part of the memory limit" in message


@pytest.mark.skipif(MODE is not None, reason="needs a host of which the mode is known")
async def test_missing_controllers_are_named(
    config: SandboxConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup_v1, "_find_controllers", lambda: {"cpu": "/c", "cpuacct": "/c"})
    with pytest.raises(Rejected, match=r"memory, pids are not mounted; .* mount -t cgroup -o mem"):
        await Sandbox.open(config)


def test_the_work_root_is_one_that_the_slots_can_reach(tmp_path: Path) -> None:
    name = f"test-{secrets.token_hex(4)}"
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    chosen = staging.choose_work_root(str(closed / "work"), name)
    assert chosen == f"{staging.FALLBACK_WORK_ROOT}/{name}"
    os.rmdir(chosen)
    reachable = Path(f"/var/tmp/{name}")
    assert staging.choose_work_root(str(reachable), "n") == f"{reachable}/n"
    assert reachable.stat().st_mode & 0o777 == 0o711 | reachable.stat().st_mode & 0o044
    (reachable / "n").rmdir()
    reachable.rmdir()
