"""Backups that judicators keep, as methods of the client."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

import msgspec

from khala.client.documents import DocumentCalls
from khala.client.transport import JSON, PAUSE_MIN_S, parse
from khala.client.uploads import Progress
from khala.model.errors import NotPossible, Unavailable
from khala.protocol.v2 import Backup, Backups

_BACKUPS = "/api/v2/backups"


class BackupCalls(DocumentCalls):
    """A part of `AsyncKhala`."""

    async def backups(self) -> Backups:
        """Those of all judicators, the latest first, and the judicators that could not be asked."""
        return parse(Backups, await self._ask("GET", _BACKUPS))

    async def create_backup(self, judicator: str | None = None) -> Backup:
        """One that is being taken; `get_backup` tells how it goes. Raise `NotPossible` while the
        judicator takes or tries another one, which a repeated request may meet, too."""
        document = msgspec.json.encode({"judicator": judicator})
        return parse(Backup, await self._ask("POST", _BACKUPS, body=document, headers=JSON))

    async def get_backup(self, backup: str) -> Backup:
        return parse(Backup, await self._ask("GET", _backup(backup)))

    async def verify_backup(self, backup: str) -> Backup:
        """Let it be restored into a scratch MongoDB and counted, once more."""
        return parse(Backup, await self._ask("POST", f"{_backup(backup)}/verify"))

    async def remove_backup(self, backup: str) -> None:
        await self._ask("DELETE", _backup(backup))

    async def download_backup(
        self, backup: str, file: Path, *, progress: Progress | None = None
    ) -> None:
        """Its archive into a new file, whole or not at all, which only its owner can read: whoever
        reads it reads every task. It goes on where it was when a connection breaks. Raise
        `FileExistsError`, other `OSError`s of the disk, `NotPossible` if it is not done."""
        if file.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.") as draft:
            await self._receive(backup, draft, progress or self.on_progress)
            await asyncio.to_thread(_publish, draft, file)

    async def _receive(self, backup: str, draft: IO[bytes], progress: Progress) -> None:
        """Raise `Unavailable` if nothing has come for as long as patience lasts."""
        size, at, moved_at = (await self.get_backup(backup)).size_bytes, 0, time.monotonic()
        progress(at, size)
        while True:
            headers = {"Range": f"bytes={at}-"}
            try:
                opened = self._transport.open(f"{_backup(backup)}/archive", {}, headers)
                async with opened as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(draft.write, piece)
                        at, moved_at = at + len(piece), time.monotonic()
                        progress(at, size)
                break
            except Unavailable:
                if at >= size > 0:
                    break
                if time.monotonic() - moved_at > self._transport.patience_s:
                    raise
            await asyncio.sleep(PAUSE_MIN_S)
        if at != size:
            raise NotPossible(
                f"the archive of backup {backup} has {size} bytes, and {at} came: it is damaged;"
                " take another backup"
            )


def _publish(draft: IO[bytes], file: Path) -> None:
    """Give it its name, when the disk has it."""
    draft.flush()
    os.fsync(draft.fileno())
    # Unlike a rename, it replaces nothing that was made meanwhile.
    os.link(draft.name, file)


def _backup(backup: str) -> str:
    return f"{_BACKUPS}/{quote(backup, safe='')}"
