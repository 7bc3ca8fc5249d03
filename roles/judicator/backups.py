"""Backups that operators ask for: taken beside the service, and kept in this node's data directory.

The work is `khala.pex backup`, as a process of its own: it reads everything, and restores it into a
scratch MongoDB to see that it can be, which would stand in the way of whatever is served here. One
at a time, taken or tried; when there are more than are to be kept, the oldest goes, after the new
one is there. A folder has for each one

    <id>.tar     the archive, mode 0600: whoever reads it reads every task
    <id>.json    what is told of it

A disk that is full would end this node's databases, which are on it: what has no room is not begun.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from khala.model.dates import utc_now
from khala.model.errors import KhalaError, NotFound, NotPossible
from khala.model.ids import JudicatorName, mint_nonce
from khala.model.limits import BACKUP_MARGIN_BYTES, BACKUP_S, GIB
from khala.protocol.backups import Backup, BackupState, Saved
from khala.supervise.leftovers import remove_leftovers
from khala.supervise.once import Once, run_once

log = structlog.get_logger()

_ID = re.compile(r"[0-9a-f]{16}")
_SAID_BYTES = 64 * 1024
_PIECE_BYTES = 1024 * 1024
_decode = msgspec.json.Decoder(Backup).decode
_decode_saved = msgspec.json.Decoder(Saved).decode


class BackupPlan(Struct, frozen=True, kw_only=True):
    """How this node takes them."""

    folder: Path
    #: What is saved is about as large as this node's copy of it.
    database: Path
    #: argv up to the file's name.
    create: tuple[str, ...]
    verify: tuple[str, ...]


class Backups:
    """`run` does the work that the others ask for; all of them run on one event loop."""

    def __init__(self, name: JudicatorName, plan: BackupPlan, kept: Callable[[], int]) -> None:
        self._name = name
        self._plan = plan
        #: Asked when one was taken or tried: where fewer are to be kept, others stay until then.
        self._kept = kept
        self._known: dict[str, Backup] = {}
        self._ready = asyncio.Event()
        #: Which one is being taken or tried.
        self._busy: str | None = None
        self._asked: asyncio.Queue[str] = asyncio.Queue(maxsize=1)

    async def run(self) -> None:
        """Until cancelled; the command under way ends with it."""
        await asyncio.to_thread(self._recover)
        self._ready.set()
        while True:
            backup = await self._asked.get()
            try:
                await self._do(backup)
            except OSError as error:
                log.warning("backup.disk_failed", id=backup, why=str(error))
                self._known[backup] = _unkept(self._known[backup], error)
            # From here on another one may be asked for, and `_busy` be that one's.
            self._busy = None
            try:
                await self._let_go()
            except OSError as error:
                log.warning("backup.not_let_go", why=str(error))

    # ---- asked for --------------------------------------------------------------------------

    async def list(self) -> list[Backup]:
        await self._ready.wait()
        return sorted(self._known.values(), key=lambda each: each.created_at, reverse=True)

    async def get(self, backup: str) -> Backup:
        await self._ready.wait()
        found = self._known.get(backup) if _ID.fullmatch(backup) else None
        if found is None:
            raise NotFound(f"{self._name} has no backup {backup[:40]!r}")
        return found

    async def create(self) -> Backup:
        """One that is being taken. Raise `NotPossible` while another one is, or without room."""
        await self._ready.wait()
        made = Backup(
            id=mint_nonce(),
            judicator=self._name,
            state=BackupState.RUNNING,
            created_at=utc_now(),
        )
        await self._begin(made)
        return made

    async def verify(self, backup: str) -> Backup:
        """One that is being tried. Raise as `create`."""
        found = await self._done_one(backup)
        await self._begin(replace(found, verifying=True))
        return self._known[backup]

    async def remove(self, backup: str) -> Backup:
        """Raise `NotPossible` while it is being taken or tried."""
        found = await self.get(backup)
        if self._busy == backup:
            raise NotPossible(f"backup {backup} is being taken or tried; remove it when that ended")
        await self._forget(backup)
        return found

    async def open(self, backup: str) -> int:
        """A descriptor of its archive, which stays readable when it is removed."""
        await self._done_one(backup)
        try:
            return os.open(self._archive(backup), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise NotFound(
                f"the archive of backup {backup} is not in {self._plan.folder} any more:"
                f" {error.strerror}"
            ) from error

    # ---- the work ---------------------------------------------------------------------------

    async def _begin(self, backup: Backup) -> None:
        if self._busy is not None:
            raise NotPossible(
                f"{self._name} takes or tries backup {self._busy} just now, and one at a time; wait"
                " for its end, or ask another judicator"
            )
        self._busy = backup.id
        try:
            await asyncio.to_thread(_require_room, self._name, self._plan)
            self._known[backup.id] = self._keep(backup)
        except BaseException:
            self._busy = None
            raise
        self._asked.put_nowait(backup.id)

    async def _do(self, backup: str) -> None:
        found = self._known[backup]
        trying = found.state is BackupState.DONE
        command = self._plan.verify if trying else self._plan.create
        log.info("backup.began", id=backup, verify=trying)
        try:
            argv = (*command, str(self._archive(backup)))
            ended = await run_once(argv, within_s=BACKUP_S, said_bytes=_SAID_BYTES)
            saved = _saved_of(ended)
            error = "" if saved else ended.why
        except KhalaError as failed:
            saved, error = None, failed.message
        if saved is None:
            log.warning("backup.failed", id=backup, why=error, verify=trying)
        else:
            log.info("backup.done", id=backup, verify=trying, tasks=saved.tasks)
        self._known[backup] = await asyncio.to_thread(self._ended, found, saved, error)

    def _ended(self, found: Backup, saved: Saved | None, error: str) -> Backup:
        """As it is then, and as it is in the folder."""
        now = utc_now()
        if found.state is BackupState.DONE:
            verified_at = now if saved else None
            return self._keep(replace(found, verifying=False, verified_at=verified_at, error=error))
        if saved is None:
            self._archive(found.id).unlink(missing_ok=True)
            failed = BackupState.FAILED
            return self._keep(replace(found, state=failed, finished_at=now, error=error))
        return self._keep(
            replace(
                found,
                state=BackupState.DONE,
                finished_at=now,
                verified_at=now,
                size_bytes=self._archive(found.id).stat().st_size,
                tasks=saved.tasks,
                blobs=saved.blobs,
            )
        )

    async def _let_go(self) -> None:
        """The oldest beyond the bound; what failed before what is a backup. One that is asked for
        while others go stays until the next time."""
        oldest = sorted(
            (each for each in self._known.values() if each.id != self._busy),
            key=lambda each: (each.state is not BackupState.FAILED, each.created_at),
        )
        for each in oldest[: max(0, len(oldest) - self._kept())]:
            if each.id == self._busy:
                continue
            log.info("backup.let_go", id=each.id, created_at=str(each.created_at))
            await self._forget(each.id)

    def _recover(self) -> None:
        """What a process before this one has left: one that it was taking is none."""
        folder = self._plan.folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_leftovers(folder)
        for path in folder.glob("*.json"):
            try:
                found = _decode(path.read_bytes())
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("backup.unreadable", path=str(path), why=str(error))
                continue
            if found.state is BackupState.RUNNING:
                found = self._ended(found, None, "the judicator was stopped while it was taken")
            elif found.state is BackupState.DONE and not self._archive(found.id).exists():
                log.warning("backup.half_removed", id=found.id)
                path.unlink()
                continue
            elif found.verifying:
                found = self._keep(replace(found, verifying=False))
            self._known[found.id] = found

    # ---- the folder -------------------------------------------------------------------------

    async def _done_one(self, backup: str) -> Backup:
        found = await self.get(backup)
        if found.state is not BackupState.DONE:
            raise NotPossible(f"backup {backup} is {found.state}, there is nothing to read")
        return found

    def _archive(self, backup: str) -> Path:
        return self._plan.folder / f"{backup}.tar"

    def _record(self, backup: str) -> Path:
        return self._plan.folder / f"{backup}.json"

    def _keep(self, backup: Backup) -> Backup:
        path = self._record(backup.id)
        draft = path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(backup))
        draft.rename(path)
        return backup

    async def _forget(self, backup: str) -> None:
        # First, so that nobody asks for anything of it while the disk is busy with it.
        self._known.pop(backup, None)
        await asyncio.to_thread(_remove, self._archive(backup), self._record(backup))


def _remove(archive: Path, record: Path) -> None:
    """The record last: by it the next process knows that there was an archive."""
    archive.unlink(missing_ok=True)
    record.unlink(missing_ok=True)


def _require_room(name: JudicatorName, plan: BackupPlan) -> None:
    """Raise `NotPossible`."""
    # The archive, and what it is restored into to be counted.
    needed = 2 * sum(map(_size_of, plan.database.rglob("*"))) + BACKUP_MARGIN_BYTES
    free = shutil.disk_usage(plan.folder).free
    if free < needed:
        raise NotPossible(
            f"{name} has {free / GIB:.1f} GiB free in {plan.folder}, and this may take"
            f" {needed / GIB:.1f} GiB: make room, or ask another judicator"
        )


def _size_of(path: Path) -> int:
    """The database goes on: one of its files may be gone as soon as it was listed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _unkept(backup: Backup, error: OSError) -> Backup:
    """How it ended could not be written down, so the next process will not know of it either."""
    state = BackupState.FAILED if backup.state is BackupState.RUNNING else backup.state
    return replace(
        backup,
        state=state,
        verifying=False,
        finished_at=backup.finished_at or utc_now(),
        error=f"the end of it could not be written down: {error.strerror}",
    )


def _saved_of(ended: Once) -> Saved | None:
    try:
        return _decode_saved(ended.said) if ended.code == 0 else None
    except msgspec.MsgspecError:
        return None


async def read_pieces(descriptor: int, first: int, size_bytes: int) -> AsyncIterator[bytes]:
    """A part of a file that is open, without waiting for the disk on the event loop."""
    end = first + size_bytes
    while first < end:
        piece = await asyncio.to_thread(os.pread, descriptor, min(_PIECE_BYTES, end - first), first)
        if not piece:
            return
        first += len(piece)
        yield piece
