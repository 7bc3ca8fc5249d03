"""A child's output, as lines for our own log.

The child must never wait for its reader: a database that blocks on writing its log stops serving.
So whatever is in the pipe is taken whenever it is readable, and what is too long or too much is
cut and counted instead of being kept. Its last words, which say why it died, are read after its
end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

#: The rest of a longer line is dropped.
LINE_BYTES = 16 * 1024
#: More lines than this are dropped, and a line says how many; a start-up may burst.
LINES_PER_S = 100.0
LINES_BURST = 1000.0
_READ_BYTES = 64 * 1024
#: Reads after the child's end; a grandchild that keeps writing must not hold us up.
_LAST_READS = 64


class Lines:
    """Cuts a stream of bytes into lines, within the bounds above. Pure: the time is passed in."""

    def __init__(self, now: float) -> None:
        self._rest = b""
        self._cut = False
        self._tokens = LINES_BURST
        self._filled_at = now
        self._dropped = 0

    def feed(self, data: bytes, now: float) -> list[str]:
        """The lines that `data` completes."""
        self._tokens = min(LINES_BURST, self._tokens + (now - self._filled_at) * LINES_PER_S)
        self._filled_at = now
        *whole, rest = data.split(b"\n")
        lines: list[str] = []
        for part in whole:
            lines += self._admit(self._end_line(part))
        self._grow(rest)
        return lines

    def close(self, now: float) -> list[str]:
        """What is left at the end of the stream: a line without an end, and the last count."""
        lines = self.feed(b"\n", now) if self._rest else []
        if self._dropped:
            lines.append(f"{self._dropped} lines dropped")
            self._dropped = 0
        return lines

    def _grow(self, part: bytes) -> None:
        room = LINE_BYTES - len(self._rest)
        self._cut |= len(part) > room
        self._rest += part[:room]

    def _end_line(self, part: bytes) -> str:
        self._grow(part)
        line = self._rest.decode(errors="replace").rstrip()
        if self._cut:
            line += " ..."
        self._rest, self._cut = b"", False
        return line

    def _admit(self, line: str) -> Iterator[str]:
        if not line:
            return
        if self._tokens < 1.0:
            self._dropped += 1
            return
        self._tokens -= 1.0
        if self._dropped:
            yield f"{self._dropped} lines dropped"
            self._dropped = 0
        yield line


class Pump:
    """Reads a pipe in the event loop, from its start until `close`."""

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        self._fd = fd
        self._on_line = on_line
        self._loop = asyncio.get_running_loop()
        self._lines = Lines(self._loop.time())
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def close(self) -> None:
        """Read what is there and close the pipe."""
        self._loop.remove_reader(self._fd)
        for _ in range(_LAST_READS):
            if not self._read():
                break
        os.close(self._fd)
        self._emit(self._lines.close(self._loop.time()))

    def _read(self) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            # At its end a pipe is readable for ever; the loop would turn on it.
            self._loop.remove_reader(self._fd)
            return False
        self._emit(self._lines.feed(data, self._loop.time()))
        return True

    def _emit(self, lines: list[str]) -> None:
        for line in lines:
            self._on_line(line)
