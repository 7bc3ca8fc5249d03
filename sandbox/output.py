"""One stream of a stage, from the pipe the task writes to into a file of the service.

Every read is bounded, and so is what is kept: a task that floods its output costs the service a
slice per turn of the loop and no more disk than its limit. Beyond the limit the beginning and the
end are kept: what a program said last, before it was killed, is often what its owner looks for.
The end is a ring in the second half of the file, so no flood costs memory either.
"""

from __future__ import annotations

import os
import tempfile

_READ_BYTES = 64 * 1024
_COPY_BYTES = 1 << 20


def head_bytes(kept_bytes: int) -> int:
    """How much of an output that was cut comes from its beginning."""
    return kept_bytes - kept_bytes // 2


class Output:
    """One stream of a jail; where it goes, and how much of it, is said when the task is known."""

    def __init__(self, uid: int) -> None:
        self.limit_bytes = 0
        self.seen_bytes = 0
        self._file_fd = -1
        self._folder = ""
        self.read_fd, self.write_fd = os.pipe()
        # /dev/stdout is opened by name inside, which needs the pipe to be the task's own.
        os.fchown(self.write_fd, uid, uid)
        os.set_blocking(self.read_fd, False)

    def open(self, path: str, limit_bytes: int) -> None:
        """Keep it in a new file of the service. Nothing may be read before."""
        self.limit_bytes = limit_bytes
        self._folder = os.path.dirname(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file_fd = os.open(path, flags, 0o600)

    @property
    def kept_bytes(self) -> int:
        return min(self.seen_bytes, self.limit_bytes)

    @property
    def over_limit(self) -> bool:
        return self.seen_bytes > self.limit_bytes

    @property
    def cut_bytes(self) -> int:
        """What `settle` has to move: nothing unless the output is over its limit."""
        return self.limit_bytes // 2 if self.over_limit else 0

    def read(self, offset: int, size_bytes: int) -> bytes:
        """What was written from `offset` on and is in its place: nothing of the end of an output
        that is over its limit, and nothing any more when it is closed."""
        end = head_bytes(self.limit_bytes) if self.over_limit else self.seen_bytes
        if offset >= end or self._file_fd < 0:
            return b""
        return os.pread(self._file_fd, min(size_bytes, end - offset), offset)

    def take(self) -> int | None:
        """Read once: bytes read, 0 at the end of the stream, None if there is nothing now."""
        try:
            data = os.read(self.read_fd, _READ_BYTES)
        except BlockingIOError:
            return None
        left = memoryview(data)
        while left:
            left = left[self._write(left) :]
        return len(data)

    def _write(self, data: memoryview) -> int:
        """Write what fits in one piece; how much that was."""
        room = self.limit_bytes - self.seen_bytes
        if room <= 0:
            head = head_bytes(self.limit_bytes)
            ring = self.limit_bytes - head
            if ring == 0:  # a limit of one byte
                self.seen_bytes += len(data)
                return len(data)
            room = ring - (self.seen_bytes - head) % ring
            at = self.limit_bytes - room
        else:
            at = self.seen_bytes
        written = os.pwrite(self._file_fd, data[:room], at)
        self.seen_bytes += written
        return written

    def settle(self) -> None:
        """Put the ring in order; once, when nothing is read any more. Takes as long as copying
        `cut_bytes` twice; raises OSError."""
        head = head_bytes(self.limit_bytes)
        ring = self.limit_bytes - head
        if not self.over_limit or ring == 0:
            return
        oldest = (self.seen_bytes - head) % ring
        if oldest == 0:
            return
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as ordered:
            _copy(self._file_fd, head + oldest, ordered.fileno(), ring - oldest)
            _copy(self._file_fd, head, ordered.fileno(), oldest)
            os.lseek(self._file_fd, head, os.SEEK_SET)
            _copy(ordered.fileno(), 0, self._file_fd, ring)

    def close_write_end(self) -> None:
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self) -> None:
        self.close_write_end()
        os.close(self.read_fd)
        if self._file_fd >= 0:
            os.close(self._file_fd)
            self._file_fd = -1


def _copy(source: int, at: int, target: int, size_bytes: int) -> None:
    """To the target's own position; the bytes stay in the kernel."""
    while size_bytes > 0:
        copied = os.sendfile(target, source, at, size_bytes)
        if copied == 0:
            raise OSError("an output became shorter while it was put in order")
        at += copied
        size_bytes -= copied
