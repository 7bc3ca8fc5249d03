"""How many bytes a jail's processes handed to write calls.

The kernel counts for each process, and adds to a parent's count that of every child it has waited
for: so what nsjail shows as a zombie is the whole jail. A jail that is killed is different, because
its first process does not wait for the others then; it is counted just before.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from sandbox.nsjail import Child
from sandbox.orders import READY_BYTES

#: Looking at more of them, one by one, would hold the loop up.
_PROCESSES = 64
_WRITTEN = re.compile(r"^wchar: (\d+)$", re.M)


class Written:
    """Of one jail; nsjail's own writes, and the first shell's, are left out."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._own_bytes: int | None = None
        #: None where the kernel does not count, and if it was killed with too many processes.
        self.total_bytes: int | None = None

    def begin(self) -> None:
        """Call while nsjail waits for its policy: later, others may not be allowed to look at the
        first process."""
        written = _written_bytes(self._child.pid)
        if written is not None:
            self._own_bytes = written - self._child.log_bytes() + READY_BYTES

    def count(self, pids: Collection[int]) -> None:
        """Call before the jail is killed with all its processes, or without any when nsjail, which
        counts too, is a zombie. The first count stands."""
        if self.total_bytes is not None or self._own_bytes is None or len(pids) > _PROCESSES:
            return
        found = [_written_bytes(pid) for pid in {*pids, self._child.pid}]
        counted = [each for each in found if each is not None]
        if counted:
            own_bytes = self._own_bytes + self._child.log_bytes()
            self.total_bytes = max(0, sum(counted) - own_bytes)


def _written_bytes(pid: int) -> int | None:
    try:
        counters = Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return None
    found = _WRITTEN.search(counters)
    return int(found[1]) if found else None
