"""The parts of tasks as files of an executor; those that are blobs are fetched once.

An array of ten thousand tasks has one archive of sources. It is kept under its hash, and every
attempt gets a hard link of its own: making room never takes a file from an attempt that uses it,
and an attempt that goes takes nothing from the others.

A file here has its name only after all of its bytes were checked, so a killed process leaves none
that is not whole. What a power cut or a bad disk makes of one shows when a later life of the
process uses it for the first time, because it is hashed again then.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from khala.model.blob import BlobName
from khala.model.errors import Unavailable
from khala.model.ids import TaskId
from khala.model.spec import Part, PartRef

log = structlog.get_logger()

_DRAFT = ".new"


class Payloads(Protocol):
    """Where the bytes come from."""

    def open_blob(self, name: BlobName) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...
    def open_part(
        self, task: TaskId, part: Part
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


@dataclass(slots=True)
class _Busy:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Parts:
    """`folder` is on one file system with those that parts are placed in. What is together more
    than `max_bytes` goes, least recently used first; a larger blob is not kept at all."""

    def __init__(self, payloads: Payloads, folder: Path, max_bytes: int) -> None:
        self._payloads = payloads
        self._folder = folder
        self._max_bytes = max_bytes
        #: Sizes of what is kept, least recently used first.
        self._kept: dict[BlobName, int] = {}
        self._size_bytes = 0
        #: Not looked at yet in this life of the process.
        self._unchecked: set[BlobName] = set()
        #: Of blobs that are being placed; whoever comes second finds what the first has fetched.
        self._busy: dict[BlobName, _Busy] = {}
        self._numbers = itertools.count()

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def open(self) -> None:
        """Find what an earlier life has left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found: list[tuple[float, BlobName, int]] = []
        for entry in list(os.scandir(self._folder)):
            if entry.name.endswith(_DRAFT):
                os.unlink(entry.path)
                continue
            status = entry.stat(follow_symlinks=False)
            found.append((status.st_mtime, BlobName(entry.name), status.st_size))
        for _, name, size in sorted(found):
            self._kept[name] = size
            self._size_bytes += size
        self._unchecked = set(self._kept)
        self._make_room(0)

    def clear(self) -> None:
        """The disk is full; attempts keep what they have."""
        for name in list(self._kept):
            self._drop(name)

    async def place(self, task: TaskId, part: Part, ref: PartRef, path: Path) -> None:
        """Put the bytes of a part that did not travel with its task at `path`. Raise `Unavailable`
        if they cannot be had."""
        if not ref.blob:
            async with self._payloads.open_part(task, part) as pieces:
                await receive(pieces, ref, path)
            return
        name = BlobName(ref.sha256)
        busy = self._busy.setdefault(name, _Busy())
        busy.users += 1
        try:
            async with busy.lock:
                if not await self._link(name, path):
                    await self._fetch(name, ref, path)
        finally:
            busy.users -= 1
            if not busy.users:
                del self._busy[name]

    async def _link(self, name: BlobName, path: Path) -> bool:
        """From what is kept, if it is there and whole."""
        size = self._kept.get(name)
        if size is None:
            return False
        kept = self._folder / name
        if name in self._unchecked:
            if await asyncio.to_thread(_hash_of, kept) != name:
                log.warning("blob.damaged", name=name)
                self._drop(name)
                return False
            self._unchecked.discard(name)
        try:
            os.link(kept, path)
            os.utime(kept)
        except OSError as error:
            log.warning("blob.not_linked", name=name, why=str(error))
            self._drop(name)
            path.unlink(missing_ok=True)
            return False
        self._kept[name] = self._kept.pop(name)
        return True

    async def _fetch(self, name: BlobName, ref: PartRef, path: Path) -> None:
        draft = self._folder / f"{next(self._numbers)}{_DRAFT}"
        try:
            async with self._payloads.open_blob(name) as pieces:
                await receive(pieces, ref, draft)
            if ref.size_bytes > self._max_bytes:
                draft.rename(path)
                return
            os.link(draft, path)
            self._make_room(ref.size_bytes)
            draft.rename(self._folder / name)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self._kept[name] = ref.size_bytes
        self._size_bytes += ref.size_bytes

    def _make_room(self, size_bytes: int) -> None:
        while self._kept and self._size_bytes + size_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: BlobName) -> None:
        self._size_bytes -= self._kept.pop(name)
        self._unchecked.discard(name)
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()


async def receive(pieces: AsyncIterator[bytes], ref: PartRef, path: Path) -> None:
    """Write them to `path`; raise `Unavailable` if they are not the part's bytes."""
    digest = hashlib.sha256()
    received = 0
    with open(path, "wb") as file:
        async for piece in pieces:
            received += len(piece)
            if received > ref.size_bytes:
                break
            digest.update(piece)
            file.write(piece)
    if received != ref.size_bytes:
        raise Unavailable(f"{received} of {ref.size_bytes} bytes arrived")
    if digest.hexdigest() != ref.sha256:
        raise Unavailable(f"other bytes than those of {ref.sha256} arrived")


def _hash_of(path: Path) -> str | None:
    """None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
