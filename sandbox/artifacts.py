"""The files a task was asked to leave, out of its work directory into one file of the service.

One file for all of them, because it is stored and fetched as one stream of chunks: a thousand
small files are then as cheap as one large one. What is left out is counted, with the first names,
so that nobody looks for a file that was silently dropped.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from khala.model.globs import Globs
from khala.model.limits import (
    ARTIFACT_BYTES,
    ARTIFACT_FILES,
    ARTIFACT_NAMES_BYTES,
    ARTIFACT_SECONDS,
    OUTPUT_CHUNK_BYTES,
)
from khala.model.outcome import ArtifactRef, Artifacts, LeftOut, Omission
from khala.model.spec import ArtifactRequest
from sandbox.collect import Bounds, Found, Obstacle, Walk

_PIECE_BYTES = 256 * 1024
#: Names given of each reason, and how much of each.
_NAMES = 3
_NAME_BYTES = 200
_ENTRIES = 200_000
_DEPTH = 64
#: 1980-01-01 and 2107-12-31, the dates of a zip archive.
_EARLIEST_S = 315_532_800
_LATEST_S = 4_354_732_799


class Collector:
    """Takes what `request` asks for out of a task's boxes, one after the other. The bounds are for
    all of them together."""

    def __init__(self, request: ArtifactRequest, target: Path) -> None:
        self._globs = Globs(request.globs)
        self._target = target
        self._files_left = min(request.max_files, ARTIFACT_FILES)
        self.bytes_left = min(request.max_bytes, ARTIFACT_BYTES)
        self._names_left = ARTIFACT_NAMES_BYTES
        self._seconds_left = ARTIFACT_SECONDS
        self._files: list[ArtifactRef] = []
        self._left_out: dict[Omission, LeftOut] = {}
        #: Size and date of what was in the first box, by name; None before that one.
        self._first: dict[bytes, tuple[int, int]] | None = None

    def add(
        self, top_fd: int, folder: bytes = b"", stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Take what is below `top_fd`, under names that begin with `folder`; of further boxes,
        which begin as copies of the first one, only what is new or other than there. Raises OSError
        if that cannot be written."""
        began_at = time.monotonic()
        further = self._first
        if further is None:
            self._first = {}
        bounds = Bounds(entries=_ENTRIES, depth=_DEPTH, seconds=self._seconds_left)
        with (
            open(self._target, "wb" if further is None else "ab", buffering=0) as sink,
            Walk(top_fd, bounds, stopped) as walk,
        ):
            for seen in walk:
                if isinstance(seen, Obstacle):
                    self._leave_out(folder + seen.name, seen.why)
                elif not stat.S_ISDIR(seen.info.st_mode) and self._globs.match(seen.name):
                    if not self._is_unchanged(seen, further):
                        self._take(seen, folder, sink.fileno())
        self._seconds_left = max(0.0, self._seconds_left - (time.monotonic() - began_at))

    def _is_unchanged(self, found: Found, first: dict[bytes, tuple[int, int]] | None) -> bool:
        facts = (found.info.st_size, found.info.st_mtime_ns)
        if first is not None:
            return first.get(found.name) == facts
        if self._first is not None:
            self._first[found.name] = facts
        return False

    def done(self) -> Artifacts:
        return Artifacts(
            chunk_bytes=OUTPUT_CHUNK_BYTES, files=tuple(self._files), left_out=self._left_out
        )

    def _leave_out(self, name: bytes, why: Omission) -> None:
        before = self._left_out.get(why, LeftOut(count=0))
        names = before.names
        if len(names) < _NAMES:
            names = (*names, name[:_NAME_BYTES])
        self._left_out[why] = LeftOut(count=before.count + 1, names=names)

    def _take(self, found: Found, folder: bytes, sink_fd: int) -> None:
        name = folder + found.name
        why = self._why_not(found, name)
        if why is not None:
            self._leave_out(name, why)
            return
        fd = found.open()
        if fd is None:
            self._leave_out(name, Omission.UNREADABLE)
            return
        try:
            self._copy(found, name, fd, sink_fd)
        finally:
            os.close(fd)

    def _why_not(self, found: Found, name: bytes) -> Omission | None:
        if not stat.S_ISREG(found.info.st_mode):
            return Omission.NOT_A_FILE
        if self._files_left == 0 or len(name) > self._names_left:
            return Omission.TOO_MANY
        if found.info.st_size > self.bytes_left:
            return Omission.TOO_LARGE
        return None

    def _copy(self, found: Found, name: bytes, fd: int, sink_fd: int) -> None:
        """At most as much as was allowed for; whoever wrote the file is gone."""
        digest, crc, copied = hashlib.sha256(), 0, 0
        while copied < found.info.st_size:
            piece = os.read(fd, min(_PIECE_BYTES, found.info.st_size - copied))
            if not piece:
                break
            digest.update(piece)
            crc = zlib.crc32(piece, crc)
            copied += len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(sink_fd, view) :]
        self._files_left -= 1
        self.bytes_left -= copied
        self._names_left -= len(name)
        self._files.append(
            ArtifactRef(
                name=name,
                size_bytes=copied,
                sha256=digest.digest(),
                crc32=crc,
                modified_s=min(max(int(found.info.st_mtime), _EARLIEST_S), _LATEST_S),
                executable=bool(found.info.st_mode & 0o111),
            )
        )
