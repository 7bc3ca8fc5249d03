"""What tasks themselves say of their runs, outside Khala's control.

Executors expose a folder with a pipe in it. A task cannot change a read-only file system, but a
pipe takes words all the same: each run writes who it is when it begins and when it comes to its
end, with the kernel's uptime, which is one clock on all hosts. The reader is the test, so no fault
of a host reaches the witness.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from tests.checker.history import End, Start

#: What a run does; `{work}` is its business. Its last line of output says who it is.
SCRIPT = """
run="$KHALA_TASK_ID $KHALA_ATTEMPT"
say() {{ read -r up _ </proc/uptime; echo "$1 $run $up" >/opt/witness/pipe; }}
say start
{work}
code=$?
echo "{nonce} $run"
say end
exit $code
"""


def uptime() -> float:
    """The clock of all histories."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Witness:
    """Reads the pipe of one executor into a file, line by line, and into memory."""

    def __init__(self, executor: str, folder: Path) -> None:
        self._executor = executor
        folder.mkdir()
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        pipe.chmod(0o622)
        folder.chmod(0o755)
        # For both directions: there is always a reader and a writer, so nobody waits to open it.
        self._pipe = os.open(pipe, os.O_RDWR)
        self._record = (folder.parent / "witness.txt").open("a")
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := os.read(self._pipe, 65536):
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    text = line.decode()
                    if text == "close":
                        return
                    self._lines.append(text)
                    self._record.write(text + "\n")
                    self._record.flush()

    def close(self) -> None:
        os.write(self._pipe, b"close\n")
        self._thread.join()
        os.close(self._pipe)
        self._record.close()

    def events(self) -> list[Start | End]:
        """All so far."""
        events: list[Start | End] = []
        for line in list(self._lines):
            word, task, attempt, at = line.split(" ")
            kind = Start if word == "start" else End
            events.append(
                kind(executor=self._executor, task=task, attempt=int(attempt), at=float(at))
            )
        return events

    def attempts(self, task: str) -> list[int]:
        """Those of a task that have begun here."""
        return [
            int(line.split(" ")[2])
            for line in list(self._lines)
            if line.startswith(f"start {task} ")
        ]
