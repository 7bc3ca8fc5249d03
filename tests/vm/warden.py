"""Whoever starts a machine may be killed, and a machine that is told to end may leave processes.

This one is a machine's session leader. When its own input ends, which is when the process that
started it closes it or ends however, or when the machine ends, it kills whatever is left of the
session. It is run as a file, and needs nothing but Python.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def processes_of(session: int) -> list[int]:
    """Those of a session that live."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in sorted(pids) if _session(pid) == session]


def _session(pid: int) -> int | None:
    """The session of a process; None for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[3])


def main() -> None:
    own = os.getpid()
    with subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL) as machine:
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(os.pidfd_open(machine.pid), select.POLLIN)
        poll.poll()
        while pids := [pid for pid in processes_of(own) if pid != own]:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            machine.poll()
            time.sleep(0.01)


if __name__ == "__main__":
    main()
