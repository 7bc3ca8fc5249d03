"""One stream of a stage, from the pipe the task writes to into a file of the service.

Every read is bounded, and so is what is kept: a task that floods its output costs the service a
slice per turn of the loop and no more disk than its limit.
"""

from __future__ import annotations

import os

_READ_BYTES = 64 * 1024


class Output:
    """One stream of the task: read to its limit, kept in a file of the service."""

    def __init__(self, path: str, limit_bytes: int, uid: int) -> None:
        self.limit_bytes = limit_bytes
        self.seen_bytes = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file_fd = os.open(path, flags, 0o600)
        self.read_fd, self.write_fd = os.pipe()
        # /dev/stdout is opened by name inside, which needs the pipe to be the task's own.
        os.fchown(self.write_fd, uid, uid)
        os.set_blocking(self.read_fd, False)

    @property
    def kept_bytes(self) -> int:
        return min(self.seen_bytes, self.limit_bytes)

    @property
    def over_limit(self) -> bool:
        return self.seen_bytes > self.limit_bytes

    def take(self) -> int | None:
        """Read once: bytes read, 0 at the end of the stream, None if there is nothing now."""
        try:
            data = os.read(self.read_fd, _READ_BYTES)
        except BlockingIOError:
            return None
        room = self.limit_bytes - self.kept_bytes
        self.seen_bytes += len(data)
        kept = memoryview(data)[:room]
        while kept:
            kept = kept[os.write(self._file_fd, kept) :]
        return len(data)

    def close_write_end(self) -> None:
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self) -> None:
        self.close_write_end()
        os.close(self.read_fd)
        os.close(self._file_fd)
