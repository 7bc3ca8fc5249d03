"""A compile stage that lays traps where the service will write, and an execute stage that walks in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from khala.model.limits import MIB
from khala.model.outcome import Reason
from khala.model.spec import Stage
from tests.sandbox.attacks.probe import PROBE
from tests.sandbox.harness import BOX_INODES, PATIENCE_S, Runner

#: What the first stage does; the second must run its own command all the same.
_TRAPS = {
    "symlink to a file of the host": "ln -sf {host}/public execute.sh",
    "symlink to a private file": "ln -sf {host}/private execute.sh",
    "symlink to a file of its own": "touch x; ln -sf x execute.sh",
    "symlink to nothing": "ln -sf /nonexistent/x execute.sh",
    "symlink to itself": "ln -sf execute.sh execute.sh",
    "symlink to a folder": "ln -sfn / execute.sh",
    "symlink to a device": "ln -sf /dev/full execute.sh",
    "symlink to the host's fifo": "ln -sf {host}/fifo execute.sh",
    "fifo": "rm -f execute.sh; mkfifo execute.sh",
    "socket": "rm -f execute.sh; ./probe unix_socket execute.sh",
    "folder": "rm -f execute.sh; mkdir execute.sh",
    "folder that is full": "rm -f execute.sh; mkdir -p execute.sh/a/b; touch execute.sh/x",
    "folder without rights": "rm -f execute.sh; mkdir -p execute.sh/a; chmod 0 execute.sh",
    "hard link": "echo echo wrong > x; ln -f x execute.sh; ln execute.sh y",
    "read-only": "echo echo wrong > execute.sh; chmod 0 execute.sh",
    "a program": "cp /bin/false execute.sh; chmod 755 execute.sh",
    "huge": "rm -f execute.sh; truncate -s 90M execute.sh",
    "held open": "exec 9>execute.sh; echo 'echo wrong' >&9",
    "folder without rights above": "chmod 0 .",
    "folder with odd rights": "chmod 7777 .",
    "folder that gives its group": "chgrp 1000 .; chmod g+s .",
    "rights by default": "setfacl -d -m u::---,g::---,o::--- . || python3 -c 'import os, struct;"
    " os.setxattr(\".\", \"system.posix_acl_default\", struct.pack(\"<I\", 2) + b\"\".join("
    "struct.pack(\"<HHI\", t, 0, 0xffffffff) for t in (1, 4, 32)))'",
    "data is a link": "rm -rf data; ln -s {host} data",
    "data is a file": "rm -rf data; echo x > data",
    "everything removed": "rm -rf * .[!.]*",
    "the same name in other letters": "touch EXECUTE.SH Execute.sh; ln -s /etc/passwd execute.sh.bak",
    "many names": "touch $(seq -f execute.sh~%g 200)",
    "no inode left": "python3 -c 'import os; os.mkdir(\"d\"); [os.open(f\"d/{i}\", 64, 0o600) and"
    f" os.close(3) for i in range({BOX_INODES})]' 2>&-; rm d/0 d/1; exit 0",
    "start-up files": "for f in .bashrc .bash_profile .profile .inputrc; do"
    " echo 'echo wrong' > $f; cp $f /tmp/$f; done",
    "programs of its own on no path": "cp /bin/false bash; cp /bin/false sh; chmod 755 bash sh",
    "locked": "exec 9<execute.sh || exec 9<compile.sh; flock -x 9; (flock -x 9; sleep 50) &",
    "left running": "setsid sh -c 'while :; do ln -sf {host}/public execute.sh; done' >&- 2>&- & exit 0",
    "attributes": "python3 -c 'import os; os.setxattr(\".\", \"user.x\", b\"x\" * 1000)'",
    "immutable": "chattr +i . compile.sh; chattr +a .; exit 0",
    "mounted over": "mount -t tmpfs x . ; mount --bind /tmp . ; exit 0",
}  # fmt: skip


@pytest.mark.parametrize("trap", _TRAPS)
async def test_traps(runner: Runner, sentinel: Path, trap: str) -> None:
    command = _TRAPS[trap].replace("{host}", str(sentinel))
    async with runner.sandbox.box(0) as box:
        await box.put("probe", PROBE.path())
        first = runner.job(f"chmod +x probe\n{command}\ntrue", stage=Stage.COMPILE)
        ran = await runner.finish(box, first)
        assert ran.outcome.reason is Reason.OK, ran
        assert b"secret of the host" not in ran.stdout + ran.stderr
        ran = await runner.finish(box, runner.job("echo right; stat -c '%F %a %U' $0"))
    assert ran.text == "right\nregular file 644 task\n", ran
    assert ran.outcome.reason is Reason.OK


@pytest.mark.parametrize("trap", ["fifo", "symlink to a file of the host", "folder that is full"])
async def test_traps_for_the_first_stage_again(runner: Runner, sentinel: Path, trap: str) -> None:
    """A box that is used again: compile.sh is laid where execute.sh was."""
    command = _TRAPS[trap].replace("{host}", str(sentinel)).replace("execute.sh", "compile.sh")
    async with runner.sandbox.box(0) as box:
        await box.put("probe", PROBE.path())
        assert (await runner.finish(box, runner.job(command))).outcome.reason is Reason.OK
        again = runner.job("echo right", stage=Stage.COMPILE)
        assert (await runner.finish(box, again)).text == "right\n"


async def test_a_first_stage_that_never_ends_holds_nothing(runner: Runner) -> None:
    async with runner.sandbox.box(0) as box:
        job = runner.job("exec 9<.; cd /tmp; sleep 50", stage=Stage.COMPILE, wall_ms=300)
        assert (await runner.finish(box, job)).outcome.reason is Reason.WALL_TIME
        assert (await runner.finish(box, runner.job("echo right"))).text == "right\n"


async def test_the_limits_of_the_second_stage_are_its_own(runner: Runner) -> None:
    """What the first stage used up is no excuse, and no help, for the second."""
    async with runner.sandbox.box(0) as box:
        first = runner.job("ulimit -n 10; ulimit -f 1; ulimit -u 9; umask 777", stage=Stage.COMPILE)
        await runner.finish(box, first)
        ran = await runner.finish(
            box, runner.job("ulimit -n; umask; head -c 99999 /dev/zero | wc -c")
        )
    assert ran.text == "1024\n0022\n99999\n"


async def test_a_leftover_of_memory_is_not_the_next_stages(runner: Runner) -> None:
    async with runner.sandbox.box(0) as box:
        first = runner.job("head -c 25M /dev/zero > /tmp/f", stage=Stage.COMPILE)
        await runner.finish(box, first)
        job = runner.job("echo right; cat /tmp/f | wc -c", memory_bytes=24 * MIB)
        ran = await asyncio.wait_for(runner.finish(box, job), PATIENCE_S)
    assert ran.text == f"right\n{25 * MIB}\n"
