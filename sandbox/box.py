"""A task's work directory, and the stages run in it.

The box is two file systems in memory, made for one task and gone with it: `/box/source`, where
sources, input and everything the stages write lives, and `/tmp`. Both are bounded in bytes and in
files, and no recursive deletion is ever needed. What is written there counts as memory of the
stage that wrote it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from khala.model.limits import MIB
from khala.model.outcome import Reason, StageOutcome
from sandbox import mounts
from sandbox.archive import unpack
from sandbox.artifacts import Collector
from sandbox.collect import Bounds, Found, Walk
from sandbox.errors import BadInput
from sandbox.folders import create_file, open_folder, replace_file, split_name, write_all
from sandbox.host import Host
from sandbox.job import Job
from sandbox.nsjail import Place
from sandbox.offload import offload
from sandbox.snapshot import Snapshot, Witness, capture, restore
from sandbox.stage import Cancel, JailGone, StageRun
from sandbox.staging import SOURCE
from sandbox.supply import Supply
from sandbox.verdict import Room, blame_file_size

#: Work on more than this leaves the event loop for a thread.
_LARGE_BYTES = 256 * 1024
#: What is dead now and then takes a moment to leave its cgroup.
_REMOVE_TRIES = 100
_REMOVE_PAUSE_S = 0.005
#: For a file of a certain size, after a stage has failed.
_FILE_SEARCH = Bounds(entries=4096, depth=32, seconds=0.2)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Space:
    """One bounded file system of the box, as mounted by the service."""

    inside: str
    mounted_at: str
    top_fd: int

    def room(self) -> Room:
        found = os.fstatvfs(self.top_fd)
        return Room(
            path=self.inside,
            bytes_limit=found.f_blocks * found.f_frsize,
            bytes_used=(found.f_blocks - found.f_bfree) * found.f_frsize,
            inodes_limit=found.f_files,
            inodes_used=found.f_files - found.f_ffree,
        )


def _mount_space(place: Place, inside: str, at: str, bounds: str) -> Space:
    options = f"{bounds},uid={place.uid},gid={place.uid}"
    mounts.mount("khala-box", at, "tmpfs", flags=mounts.NOSUID | mounts.NODEV, options=options)
    try:
        return Space(inside, at, os.open(at, _FOLDER))
    except OSError:
        mounts.unmount(at)
        raise


class Box:
    """Made by `Sandbox.box`; one task at a time."""

    def __init__(self, host: Host, slot: int, side: int = 0) -> None:
        config = host.config
        self._place = host.place(slot, side=side)
        self.supply = Supply(host, slot, side)
        self._limits = (config.box_bytes, config.box_inodes)
        self._ahead = host.warm > 0
        bounds = f"size={config.box_bytes},nr_inodes={config.box_inodes},mode=0700"
        self._source = _mount_space(self._place, SOURCE, self._place.source, bounds)
        try:
            bounds = f"size={config.tmp_bytes},nr_inodes={config.box_inodes},mode=1777"
            self._tmp = _mount_space(self._place, "/tmp", self._place.tmp, bounds)
        except OSError:
            mounts.unmount(self._source.mounted_at)
            os.close(self._source.top_fd)
            raise
        os.close(open_folder(self._source.top_fd, (b"data",), self._place.uid))

    def resize(self, size_bytes: int, files: int) -> None:
        """Give the work directory the room that the task may fill. Before anything is put into
        it; raises OSError."""
        self._limits = (size_bytes, files)
        options = "size={},nr_inodes={}".format(*self._limits)
        flags = mounts.REMOUNT | mounts.NOSUID | mounts.NODEV
        mounts.mount("khala-box", self._source.mounted_at, flags=flags, options=options)

    async def unpack(self, archive: str | Path, into: Literal["", "data"]) -> None:
        """Unpack a zip file of the service into the work directory, or into its `data` folder.

        Raises BadArchive naming the entry, the limit and the value. Only before the first stage.
        """
        top_fd = open_folder(self._source.top_fd, (b"data",) if into else (), self._place.uid)
        try:
            max_bytes, max_entries = self._limits
            arguments = (str(archive), top_fd, self._place.uid)
            if os.stat(archive).st_size > _LARGE_BYTES:
                await _in_thread(unpack, *arguments, max_bytes=max_bytes, max_entries=max_entries)
            else:
                unpack(*arguments, max_bytes=max_bytes, max_entries=max_entries)
        finally:
            os.close(top_fd)

    async def put(self, relative_name: str, data: bytes | Path) -> None:
        """Write one file below the work directory. Raises BadInput; only before the first stage."""
        try:
            parts = split_name(relative_name)
        except ValueError as error:
            raise BadInput(f"the file name {relative_name!r} is refused: {error}") from error
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        try:
            if size > _LARGE_BYTES:
                await _in_thread(self._put, parts, data)
            else:
                self._put(parts, data)
        except (NotADirectoryError, IsADirectoryError) as error:
            raise BadInput(f"{relative_name!r} is both a file and a folder") from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise BadInput(
                    f"{relative_name!r} ({size} bytes) does not fit into the work directory"
                    f" ({self._limits[0]} bytes, {self._limits[1]} files)"
                ) from error
            raise

    def _put(self, parts: list[bytes], data: bytes | Path) -> None:
        folder_fd = open_folder(self._source.top_fd, parts[:-1], self._place.uid)
        try:
            fd = create_file(folder_fd, parts[-1], self._place.uid)
        finally:
            os.close(folder_fd)
        try:
            if isinstance(data, bytes):
                write_all(fd, data)
                return
            with open(data, "rb") as source:
                while chunk := source.read(MIB):
                    write_all(fd, chunk)
        finally:
            os.close(fd)

    async def run(self, job: Job, cancel: Cancel, *, another: bool = False) -> StageOutcome:
        """Run one stage to its end; when this returns or raises, none of its processes is left.

        `another` says that a further stage is likely: its jail is made while this one runs.
        Raises SandboxLost when the jail was destroyed from outside, Unavailable or OSError when
        this host could not run it, BadInput for an environment that cannot be.
        """
        if cancel.is_set():
            return StageOutcome(reason=Reason.CANCELLED, note="cancelled before it started")
        try:
            self.write_script(job)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return _no_room(self._source.room(), job)
        try:
            outcome = await self._run_once(job, cancel, another=another)
        except JailGone:
            outcome = await self._run_once(job, cancel, another=another)
        if outcome.reason is Reason.EXIT_NONZERO and await self._has_file_of(job.limits.file_bytes):
            return blame_file_size(outcome, job.limits)
        return outcome

    async def _run_once(self, job: Job, cancel: Cancel, *, another: bool) -> StageOutcome:
        jail = await self.supply.take(job.fit)
        if another and self._ahead:
            self.supply.prepare(job.fit)
        return await StageRun(jail, job).run(cancel, self._rooms)

    async def _has_file_of(self, size_bytes: int) -> bool:
        """Whether a file has just that size; looked for only where there are as many bytes."""
        for space in (self._source, self._tmp):
            if space.room().bytes_used >= size_bytes:
                if await offload(partial(_finds_file, space.top_fd, size_bytes)):
                    return True
        return False

    def write_script(self, job: Job) -> None:
        """Put the command where bash will find it, whatever an earlier stage left there."""
        # That stage owned the folder and may have locked itself, and us, out of it.
        os.fchmod(self._source.top_fd, 0o700)
        name = f"{job.stage}.sh".encode()
        replace_file(self._source.top_fd, name, self._place.uid, job.command)

    # ---- what a stage left ------------------------------------------------------------------

    async def collect(self, collector: Collector, folder: bytes = b"") -> None:
        """Let it take what it is to keep of the work directory. Only when no stage runs. Raises
        OSError if its target cannot be written."""
        await offload(partial(collector.add, self._source.top_fd, folder))

    def watch(self, name: str) -> Witness:
        """Of a file at the top of the work directory: whether a stage reads or changes it."""
        return Witness(self._source.top_fd, name.encode())

    async def capture(
        self, sink_fd: int, leave: frozenset[bytes], max_bytes: int
    ) -> Snapshot | None:
        """Copy everything in the box but the files named in `leave`; see `sandbox.snapshot`. Only
        when no stage runs."""
        return await offload(partial(capture, self._tops, sink_fd, leave, max_bytes))

    async def restore(self, snapshot: Snapshot, source_fd: int) -> None:
        """Put a snapshot into this box, which nothing was put into before. Raises OSError; then
        the box is of no use any more."""
        os.rmdir(b"data", dir_fd=self._source.top_fd)
        uid = self._place.uid
        await offload(lambda _: restore(self._tops, uid, snapshot, source_fd))

    @property
    def _tops(self) -> tuple[int, int]:
        return (self._source.top_fd, self._tmp.top_fd)

    def _rooms(self) -> tuple[Room, ...]:
        return (self._source.room(), self._tmp.room())

    def release(self) -> None:
        """Free what was written, and everything else. Needs every jail to be over. Any thread;
        freeing many files takes tens of milliseconds."""
        for _ in range(_REMOVE_TRIES):
            if self.supply.remove_leaves():
                break
            time.sleep(_REMOVE_PAUSE_S)
        for space in (self._source, self._tmp):
            mounts.unmount(space.mounted_at)
            os.close(space.top_fd)


def _finds_file(top_fd: int, size_bytes: int, stopped: Callable[[], bool]) -> bool:
    with Walk(top_fd, _FILE_SEARCH, stopped) as walk:
        return any(
            isinstance(seen, Found)
            and stat.S_ISREG(seen.info.st_mode)
            and seen.info.st_size == size_bytes
            for seen in walk
        )


def _no_room(room: Room, job: Job) -> StageOutcome:
    return StageOutcome(
        reason=Reason.DISK,
        limit=room.bytes_limit,
        observed=room.bytes_used,
        note=f"{room.path} is full: no room for {job.stage}.sh ({len(job.command)} bytes)",
    )


_in_thread = asyncio.to_thread
