"""The cgroups of version 1 that a stage is limited and measured by.

One leaf per stage, `khala/<name>/<slot>-<stage>`, in four controllers. nsjail has flags for this,
but it removes its groups on exit and the count of out-of-memory kills goes with them; so the
executor makes the leaf, moves nsjail in before the jail exists, reads it when all is over and
removes it. A leaf is never used twice: not all of its counters can be reset.

The subtree is locked for as long as a sandbox of that name, or the guardian of one, lives. That
is why a sweep may kill whatever it finds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from khala.model.errors import Rejected, Unavailable
from khala.model.task import StageLimits

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
_PARENT = "khala"
_PERIOD_US = 100_000
#: nsjail itself and the first process of the jail.
_OWN_PIDS = 2
_LOCK_WAIT_S = 10.0
_SWEEP_S = 10.0


class Usage(Struct, frozen=True, kw_only=True):
    """What a leaf counted in its life."""

    cpu_ns: int
    cpu_user_ns: int
    memory_peak_bytes: int
    #: Processes killed because memory ran out, here or on the whole host.
    oom_kills: int
    #: Processes of the command, the two of the jail not counted.
    pids_peak: int
    #: Forks refused because of the limit.
    pids_refused: int


@dataclass(slots=True)
class Tree:
    """`khala/<name>` in every controller, and the lock on it."""

    folders: dict[str, str]
    lock_fd: int
    limits_swap: bool

    def close(self) -> None:
        os.close(self.lock_fd)


def open_tree(name: str) -> Tree:
    """Find the controllers, make and lock the subtree, kill and remove what is left in it.

    Raises Rejected naming what is missing and the command that repairs it.
    """
    roots = _find_controllers()
    missing = [name for name in CONTROLLERS if name not in roots]
    if missing:
        raise Rejected(
            f"the cgroup v1 controllers {', '.join(missing)} are not mounted; repair with: "
            + "; ".join(
                f"mkdir -p /sys/fs/cgroup/{one} && mount -t cgroup -o {one} cgroup"
                f" /sys/fs/cgroup/{one}"
                for one in missing
            )
            + " (a host with cgroup v2 only must be started with"
            " systemd.unified_cgroup_hierarchy=0)"
        )
    folders = {one: f"{roots[one]}/{_PARENT}/{name}" for one in CONTROLLERS}
    lock_fd = _lock(folders, name)
    try:
        tree = Tree(
            folders, lock_fd, os.path.exists(f"{folders['memory']}/memory.memsw.usage_in_bytes")
        )
        sweep(tree)
    except BaseException:
        os.close(lock_fd)
        raise
    return tree


def _find_controllers() -> dict[str, str]:
    """Controller -> the directory its hierarchy is mounted at."""
    found: dict[str, str] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if kind[0] == "cgroup":
            for option in kind[2].split(","):
                if option in CONTROLLERS:
                    found.setdefault(option, fields[4])
    return found


def _lock(folders: dict[str, str], name: str) -> int:
    """Make the subtree and lock it, waiting a moment for a predecessor's guardian to be done.

    That guardian removes the subtree, the locked folder last: a lock on a folder that is not the
    one at its path any more is a lock on nothing.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        _make_folders(folders)
        fd = os.open(folders["pids"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _make_folders(folders)
            if os.path.samestat(os.fstat(fd), os.stat(folders["pids"])):
                return fd
        os.close(fd)
        if time.monotonic() > deadline:
            raise Rejected(
                f"--name: another sandbox named {name} is open on this host; stop it or choose"
                " another name",
                field="--name",
            )
        time.sleep(0.02)


def _make_folders(folders: dict[str, str]) -> None:
    for one, folder in folders.items():
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise Rejected(
                f"cannot make the cgroup {folder} ({error.strerror}); the hierarchy of {one} must"
                " be writable: mount -o remount,rw on the folder above khala"
            ) from error


def sweep(tree: Tree) -> None:
    """Kill and remove every leaf. Raises Unavailable when one cannot be emptied."""
    leaves = {
        entry.name
        for folder in tree.folders.values()
        for entry in os.scandir(folder)
        if entry.is_dir()
    }
    deadline = time.monotonic() + _SWEEP_S
    for leaf in (Leaf(tree, name) for name in sorted(leaves)):
        while not leaf.try_remove():
            if time.monotonic() > deadline:
                raise Unavailable(f"the cgroup {leaf.name} of an earlier life cannot be emptied")
            leaf.kill_all()
            time.sleep(0.005)


class Leaf:
    """The cgroups of one stage."""

    def __init__(self, tree: Tree, name: str) -> None:
        self.name = name
        self._tree = tree
        self._folders = {one: f"{folder}/{name}" for one, folder in tree.folders.items()}
        #: Each once: most distributions mount cpu and cpuacct as one hierarchy.
        self._places = list(dict.fromkeys(self._folders.values()))
        self._fds: dict[str, int] = {}

    def create(self, limits: StageLimits) -> None:
        """Make the leaf with its limits. Raises Unavailable if the slot's last one is in use,
        OSError; `try_remove` cleans up in any case."""
        try:
            self._make()
        except FileExistsError:
            if not self.try_remove():
                raise Unavailable(f"the cgroup {self.name} is still in use") from None
            self._make()
        self._write("memory", "memory.limit_in_bytes", limits.memory_bytes)
        if self._tree.limits_swap:
            self._write("memory", "memory.memsw.limit_in_bytes", limits.memory_bytes)
        self._write("pids", "pids.max", limits.pids + _OWN_PIDS)
        self._write("cpu", "cpu.cfs_quota_us", max(1000, int(limits.cpus * _PERIOD_US)))
        self._fds = {
            name: os.open(f"{self._folders[one]}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for one, name in (("memory", "memory.oom_control"), ("cpuacct", "cpuacct.usage"))
        }

    def _make(self) -> None:
        for folder in self._places:
            os.mkdir(folder)

    def attach(self, pid: int) -> None:
        """Move a child of this process in; one that is gone already is nobody's problem."""
        with suppress(ProcessLookupError):
            for folder in self._places:
                _write(f"{folder}/cgroup.procs", pid)

    def cpu_ns(self) -> int:
        return int(os.pread(self._fds["cpuacct.usage"], 32, 0))

    def oom_kills(self) -> int:
        return int(os.pread(self._fds["memory.oom_control"], 256, 0).rpartition(b"oom_kill ")[2])

    def usage(self) -> Usage:
        try:
            peak = int(self._read("pids", "pids.peak"))
        except FileNotFoundError:  # before Linux 6.11
            peak = 0
        user = self._read("cpuacct", "cpuacct.usage_user")
        return Usage(
            cpu_ns=self.cpu_ns(),
            cpu_user_ns=int(user),
            memory_peak_bytes=int(self._read("memory", "memory.max_usage_in_bytes")),
            oom_kills=self.oom_kills(),
            pids_peak=max(0, peak - _OWN_PIDS),
            pids_refused=int(self._read("pids", "pids.events").split()[1]),
        )

    def processes(self) -> list[int]:
        """Host pids of everything in the leaf; empty when there is no leaf."""
        try:
            return [int(pid) for pid in self._read("pids", "cgroup.procs").split()]
        except FileNotFoundError:
            return []

    def kill_all(self) -> None:
        """SIGKILL everything that is in the leaf now, and let nothing be forked any more."""
        try:
            self._write("pids", "pids.max", 0)
        except FileNotFoundError:
            return
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def try_remove(self) -> bool:
        """Remove the leaf; False while something in it is not quite dead."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}
        for folder in self._places:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return False
                raise
        return True

    def _write(self, controller: str, name: str, value: int) -> None:
        _write(f"{self._folders[controller]}/{name}", value)

    def _read(self, controller: str, name: str) -> bytes:
        fd = os.open(f"{self._folders[controller]}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 65536)
        finally:
            os.close(fd)


def _write(path: str, value: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % value)
    finally:
        os.close(fd)
