"""Mode `cgroup_v1`: root, and the controllers mounted one by one.

One leaf per stage, `khala/<name>/<slot>-<stage>`, in four controllers. nsjail has flags for this,
but it removes its groups on exit and the count of out-of-memory kills goes with them; so the
executor makes the leaf, moves nsjail in before the jail exists, reads it when all is over and
removes it.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from khala.model.enforcement import Mode
from khala.model.errors import Rejected, Unavailable
from khala.model.limits import MIB
from khala.model.spec import StageLimits
from sandbox import subtree
from sandbox.group import OWN_PIDS, Usage

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
#: For what lies in the buffers of a stage's sockets.
_SOCKETS_BYTES = 32 * MIB
_PERIOD_US = 100_000
#: Arguments: the work root, the subtree of pids, those of the other controllers. That of pids is
#: the locked one and goes last.
_GUARDIAN = """
trap '' INT TERM HUP
read -r _
root=$1 pids=$2
shift 2
for leaf in "$pids"/*/; do [ -d "$leaf" ] && echo 0 > "$leaf/pids.max"; done
n=0
while [ $n -lt 1000 ]; do
  alive=
  for leaf in "$pids"/*/; do
    [ -d "$leaf" ] || continue
    while read -r pid; do kill -9 "$pid"; alive=1; done < "$leaf/cgroup.procs"
  done
  [ -z "$alive" ] && break
  n=$((n + 1))
  sleep 0.01
done
umount -R -l "$root"
rmdir "$root"
for folder in "$@" "$pids"; do rmdir "$folder"/*/ "$folder"; done
"""
_UNLIMITED_SWAP = (
    "swap is on and not limited: a task may use swap beyond its memory limit; repair with:"
    " swapoff -a, or boot with swapaccount=1"
)


@dataclass(slots=True)
class Tree:
    """`khala/<name>` in every controller, and the lock on it."""

    folders: dict[str, str]
    lock_fd: int
    limits_swap: bool
    warnings: tuple[str, ...]
    mode: Mode = Mode.CGROUP_V1

    def leaf(self, name: str) -> Leaf:
        return Leaf(self, name)

    def guardian(self, work_root: str) -> list[str]:
        pids = self.folders["pids"]
        others = [folder for folder in self.folders.values() if folder != pids]
        return [_GUARDIAN, "khala-guardian", work_root, pids, *others]

    def close(self) -> None:
        os.close(self.lock_fd)


def open_tree(name: str) -> Tree:
    """Find the controllers, make and lock the subtree, kill and remove what is left in it.

    Raises Rejected naming what is missing and the command that repairs it.
    """
    roots = _find_controllers()
    missing = [name for name in CONTROLLERS if name not in roots]
    if missing and _are_of_version_2(missing):
        raise Rejected(f"the cgroup v1 controllers {', '.join(missing)} belong to version 2 here")
    if missing:
        raise Rejected(
            f"the cgroup v1 controllers {', '.join(missing)} are not mounted; if the kernel has"
            " them, repair with: "
            + "; ".join(
                f"mkdir -p /sys/fs/cgroup/{one} && mount -t cgroup -o {one} cgroup"
                f" /sys/fs/cgroup/{one}"
                for one in missing
            )
        )
    folders = {one: f"{roots[one]}/{subtree.PARENT}/{name}" for one in CONTROLLERS}
    lock_fd = subtree.make_and_lock(folders.values(), folders["pids"], name)
    limits_swap = os.path.exists(f"{folders['memory']}/memory.memsw.usage_in_bytes")
    tree = Tree(folders, lock_fd, limits_swap, _warnings(limits_swap))
    try:
        subtree.sweep(tree.leaf(name) for name in _leaves(folders))
    except BaseException:
        tree.close()
        raise
    return tree


def _are_of_version_2(missing: list[str]) -> bool:
    """A controller is in one hierarchy only, and cannot be mounted a second time."""
    try:
        offered = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    except FileNotFoundError:
        return False
    return any(one in offered for one in missing)


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


def _leaves(folders: dict[str, str]) -> list[str]:
    """Of an earlier life; some may exist in a part of the controllers only."""
    return sorted(
        {
            entry.name
            for folder in folders.values()
            for entry in os.scandir(folder)
            if entry.is_dir()
        }
    )


def _warnings(limits_swap: bool) -> tuple[str, ...]:
    return (_UNLIMITED_SWAP,) if subtree.has_swap() and not limits_swap else ()


class Leaf:
    """See `group.Leaf`."""

    def __init__(self, tree: Tree, name: str) -> None:
        self.name = name
        self._tree = tree
        self._folders = {one: f"{folder}/{name}" for one, folder in tree.folders.items()}
        #: Each once: most distributions mount cpu and cpuacct as one hierarchy.
        self._places = list(dict.fromkeys(self._folders.values()))
        self._fds: dict[str, int] = {}

    def create(self) -> None:
        try:
            self._make()
        except FileExistsError:
            if not self.try_remove():
                raise Unavailable(f"the cgroup {self.name} is still in use") from None
            self._make()
        for one, name in (("memory", "memory.oom_control"), ("cpuacct", "cpuacct.usage")):
            path = f"{self._folders[one]}/{name}"
            self._fds[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _make(self) -> None:
        for folder in self._places:
            os.mkdir(folder)

    def limit(self, limits: StageLimits) -> None:
        self._write("memory", "memory.limit_in_bytes", limits.memory_bytes)
        if self._tree.limits_swap:
            self._write("memory", "memory.memsw.limit_in_bytes", limits.memory_bytes)
        # What lies in the buffers of sockets is not part of the limit above, and without one of its
        # own it is bounded by nothing but the host's memory (version 2 has one limit for both).
        with suppress(FileNotFoundError):
            sockets = min(limits.memory_bytes, _SOCKETS_BYTES)
            self._write("memory", "memory.kmem.tcp.limit_in_bytes", sockets)
        self._write("pids", "pids.max", limits.pids + OWN_PIDS)
        self._write("cpu", "cpu.cfs_quota_us", max(1000, int(limits.cpus * _PERIOD_US)))

    def attach(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            for folder in self._places:
                _write(f"{folder}/cgroup.procs", pid)

    def cpu_ns(self) -> int:
        return int(os.pread(self._fds["cpuacct.usage"], 32, 0))

    def oom_kills(self) -> int:
        return int(os.pread(self._fds["memory.oom_control"], 256, 0).rpartition(b"oom_kill ")[2])

    def usage(self) -> Usage:
        pids_peak = None
        with suppress(FileNotFoundError):  # before Linux 6.11
            pids_peak = max(0, int(self._read("pids", "pids.peak")) - OWN_PIDS)
        user = self._read("cpuacct", "cpuacct.usage_user")
        return Usage(
            cpu_ns=self.cpu_ns(),
            cpu_user_ns=int(user),
            memory_peak_bytes=int(self._read("memory", "memory.max_usage_in_bytes")),
            oom_kills=self.oom_kills(),
            pids_peak=pids_peak,
            pids_refused=int(self._read("pids", "pids.events").split()[1]),
        )

    def processes(self) -> list[int]:
        try:
            return [int(pid) for pid in self._read("pids", "cgroup.procs").split()]
        except FileNotFoundError:
            return []

    def kill_all(self) -> None:
        try:
            self._write("pids", "pids.max", 0)
        except FileNotFoundError:
            return
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def try_remove(self) -> bool:
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
