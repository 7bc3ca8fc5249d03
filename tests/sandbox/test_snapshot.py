"""A box put into another one is the same box, or there is no snapshot of it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from khala.model.limits import MIB
from khala.model.outcome import Reason
from sandbox import Box, Snapshot
from tests.sandbox.harness import ACL, BOX_BYTES, Runner

#: Everything about every file that a program could see, but inode numbers and times of access.
LOOK = (
    "find . /tmp -printf '%p %y %m %n %s %b %U:%G %T@ %l\\n' | sort;"
    " find . /tmp -type f ! -name '*.sh' -exec md5sum {} + | sort -k2"
)


async def capture(box: Box, file: Path, *leave: bytes, max_bytes: int = MIB) -> Snapshot | None:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        return await box.capture(fd, frozenset(leave), max_bytes)
    finally:
        os.close(fd)


async def restore(box: Box, snapshot: Snapshot, file: Path) -> None:
    fd = os.open(file, os.O_RDONLY)
    try:
        await box.restore(snapshot, fd)
    finally:
        os.close(fd)


async def test_a_box_comes_back_in_another_slot(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    make = r"""
        mkdir -p d/e empty closed; echo hello > d/e/file; chmod 4751 d/e/file; : > empty.txt
        ln -s /etc/passwd link; ln -s nowhere/at/all d/dangling; printf x > $'odd\n\xff name'
        ln d/e/file d/other; ln d/e/file top; head -c 300000 /dev/urandom > random
        truncate -s 900000 holes; printf middle | dd of=holes bs=1 seek=500000 conv=notrunc 2>&1
        echo secret > closed/file; chmod 0 closed/file closed; chmod 1777 empty
        mkdir -p /tmp/cache; echo t > /tmp/cache/x; chmod 711 /tmp; rmdir data
        touch -d '2001-02-03 04:05:06.789' d d/e random; touch -h -d 1999-01-01 link
    """
    async with runner.sandbox.box(0) as box:
        made = await runner.finish(box, runner.job(make))
        assert made.outcome.reason is Reason.OK, made.stderr
        snapshot = await capture(box, file, b"execute.sh", max_bytes=2 * MIB)
        before = await runner.finish(box, runner.job(LOOK))
    assert snapshot is not None
    assert snapshot.size_bytes == file.stat().st_size
    async with runner.sandbox.box(1) as box:
        await restore(box, snapshot, file)
        after = await runner.finish(box, runner.job(LOOK))
        alive = await runner.finish(box, runner.job("echo more >> d/e/file; cat top; chmod 7 d"))

    def comparable(output: bytes) -> list[bytes]:
        # The script and the time of the folder it is put into are the second stage's.
        lines = output.splitlines()
        return [line for line in lines if b"execute.sh" not in line and not line.startswith(b". d")]

    assert comparable(after.stdout) == comparable(before.stdout)
    assert len(comparable(after.stdout)) > 20
    assert alive.text == "hello\nmore\n"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(f"{ACL} . default", id="rights by default"),
        pytest.param(f"{ACL} /tmp default", id="rights by default in tmp"),
        pytest.param(f"mkdir -p a/b; {ACL} a/b default", id="rights by default below"),
        pytest.param(f"mkdir a; {ACL} a access", id="rights of one user to a folder"),
        pytest.param(f"echo x > a; {ACL} a access", id="rights of one user to a file"),
        "mkfifo pipe",
        "mkfifo /tmp/pipe",
        "mkdir a; mkfifo a/pipe",
        "perl -MSocket -e 'socket(S,1,1,0); bind(S,sockaddr_un(q(s)))'",
        "head -c 1100000 /dev/zero > large",
        "for i in 1 2 3; do head -c 400000 /dev/zero > $i; done",
        "truncate -s 20M holes",
        "p=.; for i in $(seq 70); do p=$p/d; mkdir $p; done",
    ],
)
async def test_what_cannot_be_put_back_is_not_captured(
    runner: Runner, tmp_path: Path, command: str
) -> None:
    async with runner.sandbox.box(0) as box:
        ran = await runner.finish(box, runner.job(command))
        assert ran.outcome.reason is Reason.OK, ran.stderr
        assert await capture(box, tmp_path / "snapshot") is None


async def test_a_box_that_is_too_small_says_so(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    async with runner.sandbox.box(0) as box:
        await runner.finish(
            box, runner.job(f"truncate -s {BOX_BYTES + MIB} holes; echo x >> holes")
        )
        snapshot = await capture(box, file, max_bytes=2 * BOX_BYTES)
    assert snapshot is not None
    # As long as it is sparse it fits again.
    async with runner.sandbox.box(0) as box:
        await restore(box, snapshot, file)
        ran = await runner.finish(box, runner.job("tail -c 2 holes; stat -c %s holes"))
    assert ran.text == f"x\n{BOX_BYTES + MIB + 2}\n"
    full = [msgspec.structs.replace(item, sparse=False) for item in snapshot.items]
    async with runner.sandbox.box(0) as box:
        with pytest.raises(OSError, match="No space left"):
            await restore(box, Snapshot(items=full, size_bytes=0, crc32=0), file)


async def test_contents_that_are_cut_short_are_noticed(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    async with runner.sandbox.box(0) as box:
        await runner.finish(box, runner.job("echo hello > file"))
        snapshot = await capture(box, file)
    assert snapshot is not None
    os.truncate(file, 3)
    async with runner.sandbox.box(0) as box:
        with pytest.raises(OSError, match="shorter"):
            await restore(box, snapshot, file)


@pytest.mark.parametrize(
    ("command", "untouched"),
    [
        ("ls -l; find . ; stat watched; cat other", True),
        ("cat watched > /dev/null", False),
        ("cp -r . /tmp/copy", False),
        ("grep -r true .", False),
        (
            "python3 -c 'import mmap; f=open(\"watched\"); mmap.mmap(f.fileno(), 0, prot=1)[0]'",
            False,
        ),
        ("bash watched", False),
        ("echo more >> watched", False),
        ("chmod 600 watched", False),
        ("ln watched hard", False),
        ("rm watched", False),
        ("rm watched; printf true > watched", False),
        ("mv watched away; ln -s away watched", False),
        ("cat watched; touch -a -d @0 watched", False),
    ],
)
async def test_a_witness_sees_who_reads_and_who_writes(
    runner: Runner, command: str, untouched: bool
) -> None:
    async with runner.sandbox.box(0) as box:
        await box.put("watched", b"true")
        await box.put("other", b"1")
        witness = box.watch("watched")
        assert witness.untouched()
        ran = await runner.finish(box, runner.job(command))
        assert ran.outcome.reason is Reason.OK, ran.stderr
        assert witness.untouched() is untouched
