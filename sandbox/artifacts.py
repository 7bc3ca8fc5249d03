"""The files a task was asked to leave, out of its work directory into one file of the service.

One file for all of them, because it is stored and fetched as one stream of chunks: a thousand
small files are then as cheap as one large one. What is left out is counted, with the first names,
so that nobody looks for a file that was silently dropped.
"""

from __future__ import annotations

import hashlib
import os
import stat
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
_BOUNDS = Bounds(entries=200_000, depth=64, seconds=ARTIFACT_SECONDS)
#: 1980-01-01 and 2107-12-31, the dates of a zip archive.
_EARLIEST_S = 315_532_800
_LATEST_S = 4_354_732_799


def collect_artifacts(
    top_fd: int,
    request: ArtifactRequest,
    target: Path,
    stopped: Callable[[], bool] = lambda: False,
) -> Artifacts:
    """Write what `request` asks for to `target`. Raises OSError if that cannot be written."""
    collector = _Collector(request)
    with open(target, "wb", buffering=0) as sink, Walk(top_fd, _BOUNDS, stopped) as walk:
        for seen in walk:
            if isinstance(seen, Obstacle):
                collector.leave_out(seen.name, seen.why)
            elif not stat.S_ISDIR(seen.info.st_mode) and collector.globs.match(seen.name):
                collector.take(seen, sink.fileno())
    return collector.done()


class _Collector:
    def __init__(self, request: ArtifactRequest) -> None:
        self.globs = Globs(request.globs)
        self._files_left = min(request.max_files, ARTIFACT_FILES)
        self._bytes_left = min(request.max_bytes, ARTIFACT_BYTES)
        self._names_left = ARTIFACT_NAMES_BYTES
        self._files: list[ArtifactRef] = []
        self._left_out: dict[Omission, LeftOut] = {}

    def done(self) -> Artifacts:
        return Artifacts(
            chunk_bytes=OUTPUT_CHUNK_BYTES, files=tuple(self._files), left_out=self._left_out
        )

    def leave_out(self, name: bytes, why: Omission) -> None:
        before = self._left_out.get(why, LeftOut(count=0))
        names = before.names
        if len(names) < _NAMES:
            names = (*names, name[:_NAME_BYTES])
        self._left_out[why] = LeftOut(count=before.count + 1, names=names)

    def take(self, found: Found, sink_fd: int) -> None:
        why = self._why_not(found)
        if why is not None:
            self.leave_out(found.name, why)
            return
        fd = found.open()
        if fd is None:
            self.leave_out(found.name, Omission.UNREADABLE)
            return
        try:
            self._copy(found, fd, sink_fd)
        finally:
            os.close(fd)

    def _why_not(self, found: Found) -> Omission | None:
        if not stat.S_ISREG(found.info.st_mode):
            return Omission.NOT_A_FILE
        if self._files_left == 0 or len(found.name) > self._names_left:
            return Omission.TOO_MANY
        if found.info.st_size > self._bytes_left:
            return Omission.TOO_LARGE
        return None

    def _copy(self, found: Found, fd: int, sink_fd: int) -> None:
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
        self._bytes_left -= copied
        self._names_left -= len(found.name)
        self._files.append(
            ArtifactRef(
                name=found.name,
                size_bytes=copied,
                sha256=digest.digest(),
                crc32=crc,
                modified_s=min(max(int(found.info.st_mtime), _EARLIEST_S), _LATEST_S),
                executable=bool(found.info.st_mode & 0o111),
            )
        )
