"""Mode `cgroup_v2`: one hierarchy, in a part of it that belongs to this process.

Such a part is the group of a service with `Delegate=yes`, a container's own group, a user's group
delegated by `systemd-run --user --scope -p Delegate=yes`, or, for root outside of all these, a
folder beside the system's slices. A group either holds processes or hands controllers down, never
both: so whatever runs in the group that is taken (this process, its supervisor, its siblings)
moves to `executor` in it, and the leaves, `khala/<name>/<slot>-<stage>`, stand beside that.

The kernel kills a whole leaf when its memory runs out: left alone, a script would go on after its
child was killed.
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
from khala.model.spec import StageLimits
from sandbox import subtree
from sandbox.group import OWN_PIDS, Usage

CONTROLLERS = ("memory", "pids", "cpu")
OWN = "executor"
_PERIOD_US = 100_000
_NS_PER_US = 1000
#: Processes may be started in the group while it is being emptied.
_MOVE_ROUNDS = 20
#: Arguments: the work root, the subtree. Kernels before 5.14 have no cgroup.kill.
_GUARDIAN = """
trap '' INT TERM HUP
read -r _
root=$1 top=$2
n=0
while [ $n -lt 1000 ]; do
  alive=
  for leaf in "$top"/*/; do
    [ -d "$leaf" ] || continue
    if [ -e "$leaf/cgroup.kill" ]; then
      echo 1 > "$leaf/cgroup.kill"
    else
      echo 0 > "$leaf/pids.max"
      while read -r pid; do kill -9 "$pid"; done < "$leaf/cgroup.procs"
    fi
    while read -r key value; do
      [ "$key $value" = "populated 1" ] && alive=1
    done < "$leaf/cgroup.events"
  done
  [ -z "$alive" ] && break
  n=$((n + 1))
  sleep 0.01
done
umount -R -l "$root"
rmdir "$root"
rmdir "$top"/*/ "$top"
"""
_DELEGATE = (
    "run it as a service with Delegate=yes (systemd-run --unit khala -p Delegate=yes khala.pex"
    " executor), or as a user with: systemd-run --user --scope -p Delegate=yes khala.pex executor"
)
_UNLIMITED_SWAP = (
    "swap is on and the kernel does not limit it: a task may use swap beyond its memory limit;"
    " repair with: swapoff -a, or boot with swapaccount=1"
)


@dataclass(slots=True)
class Tree:
    """`khala/<name>` in the group that was taken, and the lock on it."""

    folder: str
    lock_fd: int
    limits_swap: bool
    warnings: tuple[str, ...] = ()
    mode: Mode = Mode.CGROUP_V2

    def leaf(self, name: str) -> Leaf:
        return Leaf(self, name)

    def guardian(self, work_root: str) -> list[str]:
        return [_GUARDIAN, "khala-guardian", work_root, self.folder]

    def close(self) -> None:
        os.close(self.lock_fd)


def open_tree(name: str) -> Tree:
    """Take a group, hand the controllers down to the subtree, lock it, and sweep it.

    Raises Rejected naming what is missing and the command that repairs it.
    """
    base = find_base()
    _require_controllers(base)
    top = f"{base}/{subtree.PARENT}"
    folder = f"{top}/{name}"
    lock_fd = subtree.make_and_lock((top, folder), folder, name)
    try:
        for parent in (base, top, folder):
            _hand_down(parent, base)
        tree = Tree(folder, lock_fd, limits_swap=True)
        subtree.sweep(tree.leaf(entry.name) for entry in os.scandir(folder) if entry.is_dir())
        tree.limits_swap = _limits_swap(tree)
    except BaseException:
        os.close(lock_fd)
        raise
    if not tree.limits_swap and subtree.has_swap():
        tree.warnings = (_UNLIMITED_SWAP,)
    return tree


def find_base() -> str:
    """The group to take."""
    mounted_at, root = _find_mount()
    own = _own_group(mounted_at, root)
    if os.path.basename(own) == OWN and os.path.isdir(f"{os.path.dirname(own)}/{subtree.PARENT}"):
        # An earlier life moved this process, or the one that started it.
        own = os.path.dirname(own)
    if os.geteuid() == 0 and os.access(mounted_at, os.W_OK) and not _is_delegated(own):
        # Root needs nobody's leave; a login session's processes stay where they are.
        return mounted_at
    return own


def _find_mount() -> tuple[str, str]:
    """Where the hierarchy is mounted, and which of its groups is the top of that mount."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for line in lines:
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            fields = left.split(" ")
            return fields[4], fields[3]
    if any(" - cgroup " in line for line in lines):
        # Mounted over version 1 it would hide the controllers, and have none of them.
        raise Rejected("cgroup v2 is not mounted, and the controllers are those of version 1")
    raise Rejected("cgroup v2 is not mounted; repair with: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def _own_group(mounted_at: str, root: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, rest = line.partition(":")
        if number == "0":
            path = rest.lstrip(":")
            if root != "/" and (path == root or path.startswith(root + "/")):
                path = path.removeprefix(root)
            if path.startswith("/.."):
                break
            return (mounted_at + path).rstrip("/")
    raise Rejected(
        "the cgroup v2 group of this process is not visible here; in Docker add: --cgroupns private"
    )


def _is_delegated(folder: str) -> bool:
    """systemd marks what it hands over; a container's own group is the top of what it sees."""
    for mark in ("trusted.delegate", "user.delegate"):
        with suppress(OSError):
            if os.getxattr(folder, mark) == b"1":
                return True
    return False


def _require_controllers(base: str) -> None:
    offered = Path(f"{base}/cgroup.controllers").read_text().split()
    missing = [one for one in CONTROLLERS if one not in offered]
    if not missing:
        return
    if all(_is_bound_to_v1(one) for one in missing):
        raise Rejected(
            f"the cgroup v2 controllers {', '.join(missing)} are bound to cgroup v1; as root,"
            " cgroup v1 is used; otherwise boot with systemd.unified_cgroup_hierarchy=1"
        )
    plus = " ".join(f"+{one}" for one in missing)
    raise Rejected(
        f"the cgroup v2 controllers {', '.join(missing)} are not handed down to {base}; as root,"
        f" repair with: echo '{plus}' > {os.path.dirname(base)}/cgroup.subtree_control; below a"
        " user's systemd with: mkdir -p /etc/systemd/system/user@.service.d && printf"
        " '[Service]\\nDelegate=cpu memory pids\\n' >"
        " /etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload, and log in"
        " again"
    )


def _is_bound_to_v1(controller: str) -> bool:
    """A controller is in one hierarchy; number 0 is that of version 2."""
    for line in Path("/proc/cgroups").read_text().splitlines():
        fields = line.split()
        if fields[0] == controller:
            return fields[1] != "0"
    return False


def _hand_down(parent: str, base: str) -> None:
    """Let groups below `parent` have the controllers."""
    control = f"{parent}/cgroup.subtree_control"
    try:
        for _ in range(_MOVE_ROUNDS):
            enabled = Path(control).read_text().split()
            lacking = [one for one in CONTROLLERS if one not in enabled]
            if not lacking:
                return
            try:
                _write(control, " ".join(f"+{one}" for one in lacking).encode())
                return
            except OSError as error:
                if error.errno != errno.EBUSY or parent != base:
                    raise
            _move_processes(base)
    except OSError as error:
        raise Rejected(
            f"the cgroup {parent} cannot hand down {', '.join(CONTROLLERS)} ({error.strerror}); "
            + _DELEGATE
        ) from error
    raise Rejected(
        f"the cgroup {parent} has processes that cannot be moved, or new ones all the time; "
        + _DELEGATE
    )


def _move_processes(base: str) -> None:
    own = f"{base}/{OWN}"
    os.makedirs(own, exist_ok=True)
    for pid in Path(f"{base}/cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            _write(f"{own}/cgroup.procs", pid.encode())


def _limits_swap(tree: Tree) -> bool:
    """By looking into a throw-away group."""
    leaf = f"{tree.folder}/look"
    os.makedirs(leaf, exist_ok=True)
    try:
        return os.path.exists(f"{leaf}/memory.swap.max")
    finally:
        os.rmdir(leaf)


class Leaf:
    """See `group.Leaf`."""

    def __init__(self, tree: Tree, name: str) -> None:
        self.name = name
        self._tree = tree
        self._folder = f"{tree.folder}/{name}"
        self._fds: dict[str, int] = {}
        self._memory_limit = 0
        self._sampled_memory = 0

    def create(self) -> None:
        try:
            os.mkdir(self._folder)
        except FileExistsError:
            if not self.try_remove():
                raise Unavailable(f"the cgroup {self.name} is still in use") from None
            os.mkdir(self._folder)
        for name in ("cpu.stat", "memory.events", "memory.current"):
            self._fds[name] = os.open(f"{self._folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)

    def limit(self, limits: StageLimits) -> None:
        self._memory_limit = limits.memory_bytes
        if self._tree.limits_swap:
            self._write("memory.swap.max", 0)
        self._write("memory.max", limits.memory_bytes)
        self._write("memory.oom.group", 1)
        self._write("pids.max", limits.pids + OWN_PIDS)
        quota_us = max(1000, int(limits.cpus * _PERIOD_US))
        _write(f"{self._folder}/cpu.max", b"%d %d" % (quota_us, _PERIOD_US))

    def attach(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            self._write("cgroup.procs", pid)

    def cpu_ns(self) -> int:
        self._sampled_memory = max(
            self._sampled_memory, int(os.pread(self._fds["memory.current"], 32, 0))
        )
        return self._counters("cpu.stat")["usage_usec"] * _NS_PER_US

    def oom_kills(self) -> int:
        return self._counters("memory.events")["oom_kill"]

    def usage(self) -> Usage:
        cpu = self._counters("cpu.stat")
        refused = self._read("pids.events") or b"max 0"
        pids_peak = self._read("pids.peak")  # came with Linux 6.11
        return Usage(
            cpu_ns=cpu["usage_usec"] * _NS_PER_US,
            cpu_user_ns=cpu["user_usec"] * _NS_PER_US,
            memory_peak_bytes=self._memory_peak(),
            oom_kills=self.oom_kills(),
            pids_peak=None if pids_peak is None else max(0, int(pids_peak) - OWN_PIDS),
            pids_refused=int(refused.split()[1]),
        )

    def _memory_peak(self) -> int:
        peak = self._read("memory.peak")
        if peak is not None:
            return int(peak)
        # Before Linux 5.19: the limit if it was met, else the largest of some samples.
        met = self._counters("memory.events")["max"] > 0
        return self._memory_limit if met else self._sampled_memory

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self._read("cgroup.procs") or b"").split()]

    def kill_all(self) -> None:
        try:
            self._write("cgroup.kill", 1)
        except FileNotFoundError:  # the leaf is gone, or Linux is older than 5.14
            with suppress(FileNotFoundError):
                self._write("pids.max", 0)
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def try_remove(self) -> bool:
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}
        try:
            os.rmdir(self._folder)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
        return True

    def _counters(self, name: str) -> dict[str, int]:
        lines = os.pread(self._fds[name], 4096, 0).decode().splitlines()
        return {key: int(value) for key, value in (line.split() for line in lines)}

    def _write(self, name: str, value: int) -> None:
        _write(f"{self._folder}/{name}", b"%d" % value)

    def _read(self, name: str) -> bytes | None:
        """None if this kernel has no such file."""
        try:
            return Path(f"{self._folder}/{name}").read_bytes()
        except FileNotFoundError:
            return None


def _write(path: str, value: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)
