"""Mode `degraded`: no cgroups; what is left is limits of single processes and looking.

nsjail and the first shell set the limits that the kernel keeps for each process: memory as data
segment, the number of processes (counted for each jail alone, because it has a user namespace of
its own), processor time, file size. The rest is sampled from /proc by whoever polls.

A jail is found by its process tree: everything in its PID namespace descends from its first
process, nsjail's only child. Should nsjail be killed, that process is adopted by the first one of
the namespace that `contain` made; whatever it adopts is a jail without a master, and is killed by
any leaf that looks. Nothing needs a guardian here: the namespace dies with the service.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from khala.model.enforcement import Mode
from khala.model.errors import Rejected, invariant
from khala.model.spec import StageLimits
from sandbox import subtree
from sandbox.contain import is_contained
from sandbox.group import Usage

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Tree:
    """Has nothing but its lock."""

    lock_fd: int
    warnings: tuple[str, ...] = ()
    mode: Mode = Mode.DEGRADED

    def leaf(self, name: str) -> Leaf:
        return Leaf(name)

    def guardian(self, work_root: str) -> list[str]:
        return []

    def close(self) -> None:
        os.close(self.lock_fd)


def open_tree(name: str) -> Tree:
    """Lock the name. Raises Rejected if it is taken."""
    invariant(is_contained(), "without cgroups, only a PID namespace makes the end complete")
    deadline = time.monotonic() + subtree.LOCK_WAIT_S
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    while True:
        try:
            # Abstract: the kernel takes it back, whatever happens, and no file is left.
            lock.bind(f"\0khala-sandbox/{os.stat('/proc/self/ns/user').st_ino}/{name}")
            return Tree(lock.detach())
        except OSError as error:
            if time.monotonic() > deadline:
                lock.close()
                raise Rejected(
                    f"--name: another sandbox named {name} is open on this host; stop it or choose"
                    " another name",
                    field="--name",
                ) from error
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One look at the processes of a jail."""

    pids: tuple[int, ...] = ()
    user_ns: int = 0
    system_ns: int = 0
    memory_bytes: int = 0


class Leaf:
    """See `group.Leaf`; the counters are the largest of what was sampled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._jailer: int | None = None
        self._top: int | None = None
        self._cpu_ns = 0
        self._cpu_user_ns = 0
        self._memory_bytes = 0
        self._pids = 0

    def create(self) -> None:
        """Nothing to make."""

    def limit(self, limits: StageLimits) -> None:
        """Nothing: see `nsjail.configuration` and its first shell."""

    def attach(self, pid: int) -> None:
        self._jailer = pid

    def cpu_ns(self) -> int:
        seen = self._look()
        self._cpu_ns = max(self._cpu_ns, seen.user_ns + seen.system_ns)
        self._cpu_user_ns = max(self._cpu_user_ns, seen.user_ns)
        self._memory_bytes = max(self._memory_bytes, seen.memory_bytes)
        self._pids = max(self._pids, len(seen.pids) - 1)
        return self._cpu_ns

    def oom_kills(self) -> int:
        return 0

    def usage(self) -> Usage:
        return Usage(
            cpu_ns=self._cpu_ns,
            cpu_user_ns=min(self._cpu_user_ns, self._cpu_ns),
            memory_peak_bytes=self._memory_bytes,
            oom_kills=0,
            pids_peak=max(0, self._pids),
            pids_refused=0,
        )

    def processes(self) -> list[int]:
        tops = list(orphaned_jails())
        jail = self._jail()
        if jail is not None:
            tops.append(jail)
        return [pid for top in dict.fromkeys(tops) for pid in _descend(top)]

    def kill_all(self) -> None:
        for top in (*orphaned_jails(), self._jail()):
            if top is not None:
                with suppress(ProcessLookupError):
                    # The first process of a PID namespace: with it goes everything in it.
                    os.kill(top, signal.SIGKILL)

    def try_remove(self) -> bool:
        return not self.processes()

    def _jail(self) -> int | None:
        """The first process of the jail, as long as it lives."""
        if self._jailer is not None:
            for child in _children(self._jailer):
                self._top = child
        if self._top is not None and not _is_alive(self._top):
            self._top = None
        return self._top

    def _look(self) -> _Seen:
        jail = self._jail()
        pids = _descend(jail) if jail is not None else []
        user = system = memory = 0
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):
                # The name, in brackets, may hold anything.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                # Its own time, and that of its children that were waited for.
                user += int(fields[11]) + int(fields[13])
                system += int(fields[12]) + int(fields[14])
                memory += int(fields[21])
        return _Seen(tuple(pids), user * _NS_PER_TICK, system * _NS_PER_TICK, memory * _PAGE_BYTES)


def orphaned_jails() -> list[int]:
    """First processes of jails whose nsjail is gone."""
    invariant(is_contained(), "the children of process 1 are the host's")
    own = os.readlink("/proc/self/ns/pid")
    found = []
    for pid in _children(1):
        with suppress(OSError):
            if _is_alive(pid) and os.readlink(f"/proc/{pid}/ns/pid") != own:
                found.append(pid)
    return found


def _descend(top: int) -> list[int]:
    """The process and all below it; zombies are not counted, but what hangs below them is."""
    found, waiting = [], [top]
    while waiting:
        pid = waiting.pop()
        if _is_alive(pid):
            found.append(pid)
        waiting += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        # Threads have children, too.
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
            found += [int(child) for child in text.split()]
    return found


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
