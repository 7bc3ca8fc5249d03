"""What a judicator keeps of the backups that it was asked for; the command is a stand-in."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from khala.model.errors import NotFound, NotPossible
from khala.model.ids import JudicatorName
from khala.protocol.backups import Backup, BackupState
from roles.judicator import backups as module
from roles.judicator.backups import BackupPlan, Backups, read_pieces

NAME = JudicatorName("a")
#: Writes the file that it is given, as `backup create --json -o FILE` does.
SAVE = """
import json, os, sys
open(sys.argv[-1], "w").write("archive")
print(json.dumps({"tasks": 3, "blobs": 1}))
"""
TRY = 'import json; print(json.dumps({"tasks": 3, "blobs": 1}))'
FAIL = 'import sys; open(sys.argv[-1], "w").write("half"); sys.exit("khala: no room")'
HANG = 'import sys, time; open(sys.argv[-1], "w").write("half"); time.sleep(600)'
#: Saves once, and hangs from the second time on.
HANG_AFTER_FIRST = """
import os, sys, time
been = os.path.dirname(sys.argv[-1]) + "/../been"
open(sys.argv[-1], "w").write("archive")
if os.path.exists(been):
    time.sleep(600)
open(been, "w").close()
print('{"tasks": 3, "blobs": 1}')
"""
#: Ends when it is let.
WAIT = """
import os, sys, time
while not os.path.exists(os.path.dirname(sys.argv[-1]) + "/../go"):
    time.sleep(0.01)
print('{"tasks": 3, "blobs": 1}')
"""
WRONG = 'import sys; sys.exit("khala: it is damaged")'


def plan(folder: Path, create: str = SAVE, verify: str = TRY) -> BackupPlan:
    return BackupPlan(
        folder=folder / "backups",
        database=folder / "mongodb",
        create=(sys.executable, "-c", create),
        verify=(sys.executable, "-c", verify),
    )


@asynccontextmanager
async def running(made: BackupPlan, kept: Callable[[], int] = lambda: 7) -> AsyncIterator[Backups]:
    backups = Backups(NAME, made, kept)
    work = asyncio.create_task(backups.run())
    try:
        yield backups
    finally:
        work.cancel()
        await asyncio.wait({work})
        assert work.cancelled(), work.exception()


async def ended(backups: Backups, backup: str) -> Backup:
    async with asyncio.timeout(60):
        while True:
            found = await backups.get(backup)
            if found.state is not BackupState.RUNNING and not found.verifying:
                return found
            await asyncio.sleep(0.01)


async def save(backups: Backups) -> Backup:
    async with asyncio.timeout(60):
        while True:
            try:
                return await ended(backups, (await backups.create()).id)
            except NotPossible:
                await asyncio.sleep(0.01)


def hold_forgetting(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """The disk takes its time: one that is let go has begun to, and may go on."""
    going, gone = asyncio.Event(), asyncio.Event()
    forget = Backups._forget

    async def slowly(self: Backups, backup: str) -> None:
        going.set()
        await gone.wait()
        await forget(self, backup)

    monkeypatch.setattr(Backups, "_forget", slowly)
    return going, gone


async def content(backups: Backups, backup: str, first: int = 0, size: int = 100) -> bytes:
    descriptor = await backups.open(backup)
    try:
        return b"".join([piece async for piece in read_pieces(descriptor, first, size)])
    finally:
        os.close(descriptor)


async def test_one_is_taken_and_known_by_the_next_process(tmp_path: Path) -> None:
    async with running(plan(tmp_path)) as backups:
        began = await backups.create()
        assert (began.state, began.judicator, began.finished_at) == ("running", NAME, None)
        done = await ended(backups, began.id)
        assert (done.state, done.tasks, done.blobs, done.size_bytes) == ("done", 3, 1, 7)
        assert done.verified_at == done.finished_at is not None
        assert await content(backups, done.id) == b"archive"
        assert await content(backups, done.id, 2, 3) == b"chi"
    async with running(plan(tmp_path)) as backups:
        assert await backups.list() == [done]
        assert await backups.remove(done.id) == done
        assert await backups.list() == []
    assert list((tmp_path / "backups").iterdir()) == []


async def test_one_that_fails_leaves_its_reason_alone(tmp_path: Path) -> None:
    async with running(plan(tmp_path, FAIL)) as backups:
        failed = await save(backups)
        assert (failed.state, failed.error) == ("failed", "no room")
        with pytest.raises(NotPossible, match="is failed"):
            await backups.open(failed.id)
        with pytest.raises(NotPossible, match="is failed"):
            await backups.verify(failed.id)
    assert not list((tmp_path / "backups").glob("*.tar"))


async def test_a_verification_that_fails_takes_the_last_one_back(tmp_path: Path) -> None:
    async with running(plan(tmp_path)) as backups:
        done = await save(backups)
    async with running(plan(tmp_path, verify=WRONG)) as backups:
        assert (await backups.verify(done.id)).verifying
        tried = await ended(backups, done.id)
        assert (tried.state, tried.verified_at) == ("done", None)
        assert tried.error == "it is damaged"
    async with running(plan(tmp_path)) as backups:
        await backups.verify(done.id)
        tried = await ended(backups, done.id)
        assert tried.error == ""
        assert tried.verified_at is not None


async def test_one_at_a_time_and_a_half_one_is_none(tmp_path: Path) -> None:
    async with running(plan(tmp_path, HANG)) as backups:
        half = await backups.create()
        archive = tmp_path / "backups" / f"{half.id}.tar"
        async with asyncio.timeout(60):
            while not archive.exists():
                await asyncio.sleep(0.01)
        with pytest.raises(NotPossible, match=f"a takes or tries backup {half.id} just now"):
            await backups.create()
        with pytest.raises(NotPossible, match="remove it when that ended"):
            await backups.remove(half.id)
        with pytest.raises(NotPossible, match="is running"):
            await backups.open(half.id)
    async with running(plan(tmp_path)) as backups:
        failed = await backups.get(half.id)
        assert failed.state is BackupState.FAILED
        assert failed.error == "the judicator was stopped while it was taken"
        assert not archive.exists()
        assert (await save(backups)).state is BackupState.DONE


async def test_the_oldest_goes_and_what_failed_before_it(tmp_path: Path) -> None:
    async with running(plan(tmp_path, FAIL), lambda: 2) as backups:
        failed = await save(backups)
    async with running(plan(tmp_path), lambda: 2) as backups:
        first, second = await save(backups), await save(backups)
        assert [each.id for each in await backups.list()] == [second.id, first.id]
        assert failed.id not in (first.id, second.id)
        third = await save(backups)
        assert [each.id for each in await backups.list()] == [third.id, second.id]
        with pytest.raises(NotFound, match=f"a has no backup '{first.id}'"):
            await backups.get(first.id)
        # It is not known any more, and its files go after that.
        async with asyncio.timeout(60):
            while len(list((tmp_path / "backups").iterdir())) != 4:
                await asyncio.sleep(0.01)


async def test_fewer_are_kept_from_the_next_one_on(tmp_path: Path) -> None:
    kept = 3
    async with running(plan(tmp_path), lambda: kept) as backups:
        saved = [await save(backups) for _ in range(3)]
        kept = 1
        assert [each.id for each in await backups.list()] == [each.id for each in saved[::-1]]
        newest = await save(backups)
        async with asyncio.timeout(60):
            while [each.id for each in await backups.list()] != [newest.id]:
                await asyncio.sleep(0.01)
        kept = 2
        last = await save(backups)
        assert [each.id for each in await backups.list()] == [last.id, newest.id]


async def test_one_that_was_half_removed_is_gone(tmp_path: Path) -> None:
    async with running(plan(tmp_path)) as backups:
        stays, goes = await save(backups), await save(backups)
    (tmp_path / "backups" / f"{goes.id}.tar").unlink()
    async with running(plan(tmp_path)) as backups:
        assert [each.id for each in await backups.list()] == [stays.id]
    assert not (tmp_path / "backups" / f"{goes.id}.json").exists()


async def test_one_that_is_begun_while_the_oldest_goes_is_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing an archive takes the disk its time, and the next may be asked for meanwhile."""
    async with running(plan(tmp_path), lambda: 1) as backups:
        first = await save(backups)
    going, gone = hold_forgetting(monkeypatch)
    async with running(plan(tmp_path, HANG_AFTER_FIRST), lambda: 1) as backups:
        await save(backups)
        async with asyncio.timeout(60):
            await going.wait()
        half = await backups.create()
        archive = tmp_path / "backups" / f"{half.id}.tar"
        gone.set()
        async with asyncio.timeout(60):
            while not archive.exists():
                await asyncio.sleep(0.01)
        assert first.id not in {each.id for each in await backups.list()}
        with pytest.raises(NotPossible, match=f"a takes or tries backup {half.id} just now"):
            await backups.create()
        with pytest.raises(NotPossible, match="remove it when that ended"):
            await backups.remove(half.id)


async def test_an_end_that_cannot_be_written_down_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plan(tmp_path)) as backups:
        began = await backups.create()

        def full(self: Backups, backup: Backup) -> Backup:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Backups, "_keep", full)
            failed = await ended(backups, began.id)
        assert (failed.state, failed.verifying) == (BackupState.FAILED, False)
        assert failed.error == "the end of it could not be written down: No space left on device"
        assert (await save(backups)).state is BackupState.DONE


async def test_one_that_is_to_go_stays_while_it_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plan(tmp_path)) as backups:
        _first, second = await save(backups), await save(backups)
    going, gone = hold_forgetting(monkeypatch)
    async with running(plan(tmp_path, verify=WAIT), lambda: 1) as backups:
        third = await save(backups)
        async with asyncio.timeout(60):
            await going.wait()
        # The first one is on its way out, the second one is next.
        assert (await backups.verify(second.id)).verifying
        gone.set()
        async with asyncio.timeout(60):
            while {each.id for each in await backups.list()} != {second.id, third.id}:
                await asyncio.sleep(0.01)
        assert (await backups.get(second.id)).verifying
        (tmp_path / "go").touch()
        async with asyncio.timeout(60):
            while {each.id for each in await backups.list()} != {third.id}:
                await asyncio.sleep(0.01)


async def test_without_room_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKUP_MARGIN_BYTES", 1 << 60)
    async with running(plan(tmp_path)) as backups:
        with pytest.raises(NotPossible, match="make room, or ask another judicator"):
            await backups.create()
        assert await backups.list() == []


async def test_a_file_of_the_database_that_goes_while_all_are_counted_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "rglob", lambda self, _: iter([self / "went"]))
    async with running(plan(tmp_path)) as backups:
        monkeypatch.setattr(Path, "is_file", lambda _: True)
        assert (await save(backups)).state is BackupState.DONE


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 15, "0" * 16])
async def test_a_name_that_is_none_of_ours_is_not_looked_for(tmp_path: Path, name: str) -> None:
    async with running(plan(tmp_path)) as backups:
        with pytest.raises(NotFound):
            await backups.open(name)
