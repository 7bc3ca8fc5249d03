"""Compile stages that were run before: their boxes are kept and put back instead of run again.

Whoever judges a program against a hundred inputs submits a hundred tasks with the same sources;
ninety-nine of their compilations make what is there already. An entry is a whole box after a
compile stage that ended well: every file, both outputs, the measurements. It is found by a key
that holds all that the stage could see and is meant to depend on.

What keeps it right:

- Entries lie outside every box and are written by the service when the stage's processes are gone,
  so no task can reach one. What cannot be put back exactly is not kept (`sandbox.snapshot`).
- The input and the command of the execute stage lie in the work directory too, and are not part of
  the key, or no second input would find the entry. A compile stage that looks into them (their
  times tell) is not kept.
- An entry is written under another name and renamed, so a killed process leaves none by halves. No
  fsync: what a power cut tears is found by its checksum, removed, and counts as a miss.
- Two attempts may compile the same at once; the later one replaces an equal entry.

A compile stage that depends on the time, on chance or on the task's id gives every time what it
gave the first time. That is its user's choice to make, by the task's own switch.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from khala.model.executor import CacheCounts
from khala.model.limits import CACHE_ENTRIES, CACHE_ENTRY_BYTES, MIB
from khala.model.outcome import CacheUse, StageOutcome, Stream
from roles.executor.reserve import Reserve
from sandbox import Box, Snapshot, Witness

log = structlog.get_logger()

#: Free space below which nothing more is kept. The executor needs it more, and would take no work.
FREE_BYTES = 1024 * MIB
_STREAMS = (Stream.COMPILE_OUTPUT, Stream.COMPILE_ERROR)
_DRAFT = ".new"
_MAGIC = b"khala-c1"
#: Magic, bytes of the head, checksum of the head. It ends the file.
_TAIL = struct.Struct("<8sLL")
_PIECE_BYTES = 256 * 1024
_HEAD_BYTES = 64 * MIB


class Head(Struct, frozen=True, kw_only=True):
    """What stands behind the bytes of an entry: first its files, then its outputs."""

    key: str
    outcome: StageOutcome
    snapshot: Snapshot
    stream_bytes: tuple[int, int]
    #: Of all bytes before the head.
    crc32: int


_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode


class NotRestored(Exception):
    """An entry could not be put into a box."""


@dataclass(slots=True)
class Lookup:
    """What the cache has for one attempt; close it."""

    use: CacheUse
    key: str = ""
    head: Head | None = None
    fd: int = -1
    #: Files that a compile stage may not have looked into.
    witnesses: Sequence[Witness] = ()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True)
class _Tally:
    hits: int = 0
    misses: int = 0
    stored: int = 0
    evicted: int = 0


@dataclass(slots=True)
class CompileCache:
    """One directory of entries; used by one process. A bound of 0 bytes turns it off."""

    folder: Path
    max_bytes: int
    reserve: Reserve
    #: Bytes by key, the one that was used longest ago first.
    _entries: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _tally: _Tally = field(default_factory=_Tally)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def open(self) -> None:
        """Take over what an earlier process left, but for its drafts. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found: list[tuple[int, str, int]] = []
        for path in list(self.folder.iterdir()):
            if path.suffix == _DRAFT or not self.max_bytes:
                path.unlink()
                continue
            info = path.stat()
            found.append((info.st_mtime_ns, path.name, info.st_size))
        for _, key, size in sorted(found):
            self._entries[key] = size
            self._bytes += size
        for path in self._make_room():
            path.unlink()

    @property
    def counts(self) -> CacheCounts:
        return CacheCounts(
            hits=self._tally.hits,
            misses=self._tally.misses,
            stored=self._tally.stored,
            evicted=self._tally.evicted,
            entries=len(self._entries),
            size_bytes=self._bytes,
            max_bytes=self.max_bytes,
        )

    # ---- finding ----------------------------------------------------------------------------

    async def look_up(self, key: str) -> Lookup:
        """A hit is whole: its checksums are right."""
        if not self.max_bytes:
            return Lookup(CacheUse.OFF)
        if key in self._entries:
            found = await asyncio.to_thread(_open_entry, self.folder / key, key)
            if found is not None:
                return Lookup(CacheUse.HIT, key, *found)
            log.warning("cache.entry_broken", key=key)
            await self.drop(key)
        self._tally.misses += 1
        return Lookup(CacheUse.MISS, key)

    async def restore(self, found: Lookup, box: Box, folder: Path) -> StageOutcome:
        """Fill a fresh box, and `folder` with the outputs. Raises NotRestored; then the box is of
        no use any more, and the entry is gone."""
        if found.head is None:
            raise NotRestored("there is no entry")
        head = found.head
        try:
            os.lseek(found.fd, 0, os.SEEK_SET)
            await box.restore(head.snapshot, found.fd)
            for stream, size in zip(_STREAMS, head.stream_bytes, strict=True):
                await asyncio.to_thread(_copy, found.fd, folder / stream, size)
        except OSError as error:
            await self.drop(found.key)
            self._tally.misses += 1
            raise NotRestored(str(error)) from error
        self._tally.hits += 1
        if found.key in self._entries:
            self._entries.move_to_end(found.key)
            with suppress(OSError):
                os.utime(self.folder / found.key)  # the order after a restart
        return msgspec.structs.replace(head.outcome, cache=CacheUse.HIT)

    # ---- keeping ----------------------------------------------------------------------------

    async def keep(self, missed: Lookup, box: Box, folder: Path, outcome: StageOutcome) -> None:
        """Make an entry of `box`, in which a compile stage has just ended well, unless it cannot
        be. Trouble with it is no trouble of the attempt."""
        if not all(witness.untouched() for witness in missed.witnesses):
            return
        draft = self.folder / f"{missed.key}.{next(self._numbers)}{_DRAFT}"
        try:
            if not self.reserve.has(self._entry_bytes + FREE_BYTES):
                return
            with self.reserve.promised(self._entry_bytes):
                size = await self._write(draft, missed, box, folder, outcome)
            if size:
                draft.rename(self.folder / missed.key)
                await self._add(missed.key, size)
        except OSError as error:
            log.warning("cache.not_kept", key=missed.key, why=str(error))
        finally:
            draft.unlink(missing_ok=True)

    @property
    def _entry_bytes(self) -> int:
        """The most that one holds."""
        return min(self.max_bytes // 4, CACHE_ENTRY_BYTES)

    async def _write(
        self, draft: Path, missed: Lookup, box: Box, folder: Path, outcome: StageOutcome
    ) -> int:
        """Bytes of the entry; 0 if the box cannot be kept."""
        leave = frozenset(witness.name for witness in missed.witnesses)
        most = self._entry_bytes
        outputs = [folder / stream for stream in _STREAMS]
        if sum(path.stat().st_size for path in outputs) > most:
            return 0
        with open(draft, "wb", buffering=0) as file:
            snapshot = await box.capture(file.fileno(), leave, most)
            if snapshot is None:
                return 0
            head = Head(
                key=missed.key,
                outcome=outcome,
                snapshot=snapshot,
                stream_bytes=(outputs[0].stat().st_size, outputs[1].stat().st_size),
                crc32=snapshot.crc32,
            )
            return await asyncio.to_thread(_finish, file.fileno(), outputs, head)

    async def _add(self, key: str, size: int) -> None:
        self._bytes += size - self._entries.pop(key, 0)
        self._entries[key] = size
        self._tally.stored += 1
        room = self._make_room()
        self._tally.evicted += len(room)
        await _unlink(room)

    def _make_room(self) -> list[Path]:
        """Forget the entries used longest ago until the rest is within the bounds."""
        gone: list[Path] = []
        while self._bytes > self.max_bytes or len(self._entries) > CACHE_ENTRIES:
            key, size = self._entries.popitem(last=False)
            self._bytes -= size
            gone.append(self.folder / key)
        return gone

    async def drop(self, key: str) -> None:
        self._bytes -= self._entries.pop(key, 0)
        await _unlink([self.folder / key])

    async def clear(self) -> None:
        """Give the room back: the disk is nearly full."""
        gone = [self.folder / key for key in self._entries]
        self._tally.evicted += len(gone)
        self._entries.clear()
        self._bytes = 0
        await _unlink(gone)


async def _unlink(paths: Sequence[Path]) -> None:
    """In a thread: large files take their time. One that is read stays readable."""

    def work() -> None:
        for path in paths:
            with suppress(OSError):
                path.unlink()

    if paths:
        await asyncio.to_thread(work)


def _finish(fd: int, outputs: Sequence[Path], head: Head) -> int:
    """Outputs, head and tail behind the files."""
    crc = head.crc32
    with open(fd, "wb", closefd=False, buffering=_PIECE_BYTES) as file:
        for path in outputs:
            with open(path, "rb") as output:
                while piece := output.read(_PIECE_BYTES):
                    crc = zlib.crc32(piece, crc)
                    file.write(piece)
        encoded = _encode_head(msgspec.structs.replace(head, crc32=crc))
        file.write(encoded)
        file.write(_TAIL.pack(_MAGIC, len(encoded), zlib.crc32(encoded)))
    return os.fstat(fd).st_size


def _open_entry(path: Path, key: str) -> tuple[Head, int] | None:
    """The head and a descriptor of an entry that is whole."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        head = _check_entry(fd, key)
    except (OSError, struct.error, msgspec.MsgspecError):
        head = None
    if head is None:
        os.close(fd)
        return None
    return head, fd


def _check_entry(fd: int, key: str) -> Head | None:
    size = os.fstat(fd).st_size
    magic, length, crc = _TAIL.unpack(os.pread(fd, _TAIL.size, max(0, size - _TAIL.size)))
    at = size - _TAIL.size - length
    if magic != _MAGIC or at < 0 or length > _HEAD_BYTES:
        return None
    encoded = os.pread(fd, length, at)
    if zlib.crc32(encoded) != crc:
        return None
    head = _decode_head(encoded)
    if head.key != key or head.snapshot.size_bytes + sum(head.stream_bytes) != at:
        return None
    found = 0
    while at:
        piece = os.read(fd, min(_PIECE_BYTES, at))
        if not piece:
            return None
        found = zlib.crc32(piece, found)
        at -= len(piece)
    return head if found == head.crc32 else None


def _copy(fd: int, target: Path, size: int) -> None:
    with open(target, "wb") as file:
        while size:
            piece = os.read(fd, min(_PIECE_BYTES, size))
            if not piece:
                raise OSError("the entry is shorter than it says")
            file.write(piece)
            size -= len(piece)
