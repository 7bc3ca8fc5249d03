"""Jails that are made before their task is known: what comes late arrives whole, a jail that waits
knows nothing of any task, and whatever happens to it while it waits is no task's fault."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import secrets
import signal
import time
from pathlib import Path

import msgspec
import pytest

from khala.model.limits import KIB, MIB
from khala.model.outcome import Reason
from khala.model.spec import Stage, StageLimits
from sandbox import BadInput, Sandbox, SandboxLost, nsjail
from sandbox.jail import Jail
from tests.sandbox.harness import BOX_BYTES, BOX_INODES, UID_BASE, Runner, everything, waiting_jails

_NAMESPACES = "for ns in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$ns; done"


def _needs_warmth(runner: Runner) -> None:
    if not runner.warm:
        pytest.skip("no jail waits where there are no cgroups")


def _of_slot(runner: Runner, slot: int = 0) -> tuple[int, int]:
    """nsjail and the first shell of the jail that waits for a slot."""
    _needs_warmth(runner)
    (pids,) = _waiting_for(runner, slot)
    return pids[0], pids[1]


def _waiting_for(runner: Runner, slot: int) -> list[list[int]]:
    """Processes of the jails that wait for a slot."""
    waiting = waiting_jails(runner.config)
    return [pids for leaf, pids in waiting.items() if leaf.startswith(f"{slot}-")]


# ---- what comes late --------------------------------------------------------------------------


async def test_two_stages_have_two_jails(runner: Runner) -> None:
    """Both exist at the same time, so that no name of a namespace can stand for two."""
    _needs_warmth(runner)
    async with runner.sandbox.box(0) as box:
        first = runner.job(f"{_NAMESPACES}; sleep 0.5", stage=Stage.COMPILE)
        await box.run(first, asyncio.Event(), another=True)
        seen = Path(first.stdout).read_text().split()
        seen += (await runner.finish(box, runner.job(_NAMESPACES))).text.split()
    # The cgroup namespaces differ too, because each is made in a group of its own.
    assert len(set(seen)) == len(seen) == 2 * 7


async def test_boxes_that_follow_each_other_have_nothing_in_common(runner: Runner) -> None:
    """Both of a slot exist at the same time: the next one waits while the one before it is used."""
    _needs_warmth(runner)
    look = f"{_NAMESPACES}; ls -A . /tmp /dev/shm; touch here /tmp/here /dev/shm/here; sleep 0.3"
    written = []
    for n in range(4):
        async with runner.sandbox.box(0, another=n < 3) as box:
            written.append((await runner.finish(box, runner.job(look))).text.split())
    # Those of a jail that has ended may be given to the next but one.
    for before, after in itertools.pairwise(written):
        assert len(set(before[:7]) | set(after[:7])) == 2 * 7
    assert {tuple(each[7:]) for each in written} == {tuple(written[0][7:])}
    assert "here" not in written[0]


async def test_the_next_box_waits_out_of_reach(runner: Runner) -> None:
    _needs_warmth(runner)
    async with runner.sandbox.box(0, another=True) as box:
        for _ in range(3000):
            both = _waiting_for(runner, 0)
            if len(both) == 2:
                break
            await asyncio.sleep(0.02)
        pids = [str(pid) for jail in both for pid in jail]
        command = f"kill -9 {' '.join(pids)}; ls /proc"
        seen = (await runner.finish(box, runner.job(command))).text.split()
        assert len(pids) == 4 and not {*pids} & {*seen}
        # One of the two was this box's own.
        (left,) = _waiting_for(runner, 0)
        assert left in both
    async with runner.sandbox.box(0) as box:
        assert (await runner.finish(box, runner.job("echo fine"))).text == "fine\n"


async def test_each_stage_has_its_own_limits(runner: Runner) -> None:
    command = "grep -E '^Max (file size|cpu time)' /proc/self/limits; env | grep ^ONLY_"
    async with runner.sandbox.box(0) as box:
        for stage, size, cpu_ms in ((Stage.COMPILE, 12345, 1000), (Stage.EXECUTE, 6789, 7000)):
            job = runner.job(
                command,
                stage=stage,
                environment={f"ONLY_{stage.upper()}": "here"},
                file_bytes=size,
                cpu_ms=cpu_ms,
            )
            await box.run(job, asyncio.Event(), another=True)
            lines = Path(job.stdout).read_text().splitlines()
            assert lines[0].split()[3:5] == [str(cpu_ms // 1000 + 2)] * 2
            assert lines[1].split()[3:5] == [str(size)] * 2
            assert lines[2:] == [f"ONLY_{stage.upper()}=here"]


_VALUES = {
    "empty": "",
    "newlines": "\n\none\n\n",
    "quotes": "'\"'\\''`\\\"",
    "expansions": "$HOME ${x:-y} $(id) `id` $((1+1)) ~ * ? [a] {a,b} !! # ; & | < > \\",
    "control": "".join(map(chr, range(1, 32))) + "\x7f",
    "bytes": os.fsdecode(bytes(range(1, 256))),
    "long": "x" * 100_000,
    "long and quoted": "'" * 30_000,
    "a command": "'; exit 7; '",
}


@pytest.mark.parametrize("value", _VALUES.values(), ids=_VALUES.keys())
async def test_any_value_of_a_variable_arrives(runner: Runner, value: str) -> None:
    given = {"VALUE": value, "PS4": "$(id)", "LD_PRELOAD": "/nowhere.so"}
    ran = await runner.run(
        "cat /proc/self/environ; exit 23",
        # Bash has an IFS of its own, the first shell would take this one.
        environment={**given, "IFS": "2"},
        output_bytes=4 * MIB,
    )
    assert ran.outcome.exit_code == 23
    seen = dict(item.split(b"=", 1) for item in ran.stdout.rstrip(b"\0").split(b"\0"))
    assert {name: seen[name.encode()] for name in given} == {
        name: os.fsencode(each) for name, each in given.items()
    }


@pytest.mark.parametrize("name", ["", "A B", "1A", "A=B", "A;id", "ü", "A\n"])
async def test_a_name_that_is_none(runner: Runner, name: str) -> None:
    with pytest.raises(BadInput, match="a name has letters, digits"):
        await runner.run("true", environment={name: "x"})


async def test_a_value_that_is_none(runner: Runner) -> None:
    with pytest.raises(BadInput, match="NUL"):
        await runner.run("true", environment={"A": "a\0b"})


@pytest.mark.parametrize("name", ["OPTIND", "UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS"])
async def test_what_belongs_to_the_shells_stays_theirs(runner: Runner, name: str) -> None:
    ran = await runner.run("echo $A; exit 5", environment={name: "abc", "A": "b"})
    assert (ran.outcome.exit_code, ran.stdout, ran.stderr) == (5, b"b\n", b"")


_SEEK = """
import os, sys
print(os.lseek(0, 0, os.SEEK_END), os.lseek(0, 0, os.SEEK_SET), os.path.getsize("/dev/stdin"))
sys.stdout.flush()
os.execvp("sha256sum", ["sha256sum", "/dev/stdin"])
"""


@pytest.mark.parametrize("size", [0, 1, 100 * KIB, 20 * MIB])
async def test_standard_input(runner: Runner, size: int) -> None:
    given = secrets.token_bytes(size)
    async with runner.sandbox.box(0) as box:
        await box.put("seek.py", _SEEK.encode())
        ran = await runner.finish(box, runner.job("python3 seek.py", stdin=given))
    assert ran.text.split() == [
        *(str(size), "0", str(size)),
        hashlib.sha256(given).hexdigest(),
        "/dev/stdin",
    ]


async def test_no_standard_input(runner: Runner) -> None:
    ran = await runner.run("readlink /proc/self/fd/0")
    assert ran.stdout == b"/dev/null\n"


async def test_the_orders_are_out_of_reach(runner: Runner) -> None:
    """Of the first shell's descriptors, which a task can open as its own, none leads to them."""
    ran = await runner.run("for fd in /proc/1/fd/* /proc/[0-9]*/fd/*; do readlink $fd; done")
    seen = set(ran.text.split())
    assert seen
    assert not [link for link in seen if "orders" in link or link.startswith("socket:")]


async def test_a_smaller_work_directory(runner: Runner) -> None:
    async with runner.sandbox.box(0) as box:
        box.resize(2 * MIB, 50)
        ran = await runner.finish(box, runner.job("head -c 3M /dev/zero > f"))
        assert (ran.outcome.reason, ran.outcome.limit) == (Reason.DISK, 2 * MIB)
        ran = await runner.finish(box, runner.job("rm f; seq 100 | xargs touch"))
        assert (ran.outcome.reason, ran.outcome.limit) == (Reason.DISK, 50)


async def test_a_larger_work_directory(runner: Runner) -> None:
    async with runner.sandbox.box(0) as box:
        box.resize(2 * BOX_BYTES, 2 * BOX_INODES)
        command = f"head -c {BOX_BYTES + MIB} /dev/zero > f; seq {BOX_INODES + 1} | xargs touch"
        ran = await runner.finish(box, runner.job(command))
        assert ran.outcome.reason is Reason.OK


# ---- while it waits ---------------------------------------------------------------------------


async def test_a_jail_that_waits_holds_nothing_of_a_task(runner: Runner) -> None:
    await runner.run(
        "touch mine /tmp/mine /dev/shm/mine", stdin=b"secret", environment={"MINE": "secret"}
    )
    await runner.until_warm()
    for pid in _of_slot(runner):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            if any(name in os.readlink(fd) for name in ("memfd:stdin", "memfd:orders")):
                assert os.stat(fd).st_size == 0
    _, shell = _of_slot(runner)
    for name in ("cmdline", "environ"):
        assert b"secret" not in Path(f"/proc/{shell}/{name}").read_bytes()
    for folder in ("box/source", "tmp", "dev/shm"):
        assert os.listdir(f"/proc/{shell}/root/{folder}") in ([], ["data"])


async def test_a_jail_that_waits_is_limited_by_its_profile(runner: Runner) -> None:
    jailer, shell = _of_slot(runner)
    status = Path(f"/proc/{shell}/status").read_text()
    for line in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status
    own = Path("/proc/self/oom_score_adj").read_text()
    scores = [Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in (jailer, shell)]
    assert scores == [own, "1000\n"]


@pytest.mark.parametrize("which", [0, 1], ids=["nsjail", "first shell"])
async def test_one_that_was_killed_is_replaced(runner: Runner, which: int) -> None:
    pids = _of_slot(runner)
    os.kill(pids[which], signal.SIGKILL)
    while Path(f"/proc/{pids[0]}").exists():
        await asyncio.sleep(0.01)
    ran = await runner.run("echo fine; exit 4")
    assert (ran.outcome.exit_code, ran.stdout) == (4, b"fine\n")


async def test_one_that_dies_as_its_task_comes_is_replaced(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[str] = []

    def kill_the_first(jail: Jail, path: str) -> None:
        """And let its nsjail reap it, while the loop stands still."""
        if not fed:
            shell = _of_slot(runner)[1]
            os.kill(shell, signal.SIGKILL)
            while Path(f"/proc/{shell}").exists():
                time.sleep(0.005)
        fed.append(path)

    monkeypatch.setattr(Jail, "feed", kill_the_first)
    assert (await runner.run("exit 4", stdin=b"x")).outcome.exit_code == 4
    assert len(fed) == 2


async def test_whatever_kills_them_before_their_task_is_no_verdict(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(_: nsjail.Place, first_pid: int, limits: StageLimits) -> None:
        os.kill(first_pid, signal.SIGKILL)
        raise ProcessLookupError

    monkeypatch.setattr(nsjail, "limit", kill)
    with pytest.raises(SandboxLost, match="before its task began"):
        await runner.run("true")


async def test_making_one_fails(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as failing:
        failing.setattr(Jail, "_make", fail)
        # The jail that waits already is a whole one; the next is made on demand, in vain.
        assert (await runner.run("exit 4")).outcome.exit_code == 4
        with pytest.raises(OSError, match="Too many open files"):
            await runner.run("true")
    assert (await runner.run("exit 5")).outcome.exit_code == 5


async def test_an_unused_box_is_taken_down(runner: Runner) -> None:
    async with runner.sandbox.box(0):
        pass
    async with runner.sandbox.box(0) as box:
        job = runner.job("exit 3", stage=Stage.COMPILE)
        await box.run(job, asyncio.Event(), another=True)


# ---- how many ---------------------------------------------------------------------------------


@pytest.fixture
async def few(runner: Runner) -> Runner:
    """More slots than jails that wait."""
    config = msgspec.structs.replace(
        runner.config,
        name=f"test-few-{secrets.token_hex(4)}",
        slots=6,
        warm=2,
        uid_base=UID_BASE + 60,
    )
    return Runner(await Sandbox.open(config), config, runner.folder, runner.exposed)


async def test_no_more_wait_than_may_and_they_go_first(few: Runner) -> None:
    _needs_warmth(few)
    await few.quiet()
    for _ in range(3):
        slot = few.sandbox.choose(range(few.config.slots))
        assert [leaf for leaf in waiting_jails(few.config) if leaf.startswith(f"{slot}-")]
        cold = 5
        for each in (slot, cold):
            assert (await few.run("exit 3", slot=each)).outcome.exit_code == 3
        await few.quiet()
    await few.sandbox.close()
    assert everything(few.config) == []


async def test_all_slots_at_once(few: Runner) -> None:
    async def repeat(slot: int) -> None:
        for number in range(5):
            ran = await few.run(f"echo {slot} {number}; exit {number}", slot=slot)
            assert (ran.stdout, ran.outcome.exit_code) == (f"{slot} {number}\n".encode(), number)

    async with asyncio.TaskGroup() as group:
        for slot in range(few.config.slots):
            group.create_task(repeat(slot))
    await few.quiet()
    await few.sandbox.close()
    assert everything(few.config) == []


async def test_closing_while_they_are_made(few: Runner) -> None:
    await few.sandbox.close()
    assert everything(few.config) == []
