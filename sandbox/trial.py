"""What a jail needs of its host, tried part by part, for whoever wants to know before.

Each trial changes its process for good (namespaces, cgroup): call it in one that ends afterwards.
On the host nothing is left, not even what the sandbox itself would keep for its next start.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.model.enforcement import Enforcement
from khala.model.errors import Rejected
from sandbox import cgroup_v2, contain, modes, mounts, subtree
from sandbox.api import Sandbox
from sandbox.job import SandboxConfig

_NAMESPACES = {
    "user": 0x10000000,
    "mnt": 0x00020000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "cgroup": 0x02000000,
}
#: Processes may be started in a group while it is being emptied.
_MOVE_ROUNDS = 20

_libc = ctypes.CDLL(None, use_errno=True)


def try_namespaces() -> tuple[str, ...]:
    """Enter one of each kind a jail has, and mount what is mounted there; their names.

    Raises Rejected naming the one that is forbidden and the command that repairs it.
    """
    uid, gid = os.geteuid(), os.getegid()
    for name, flag in _NAMESPACES.items():
        if _libc.unshare(flag) != 0:
            raise Rejected(_explain(name, ctypes.get_errno()))
        if name == "user":
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    number = _mount_in_child()
    if number:
        raise Rejected(
            f"a /proc of its own cannot be mounted in new namespaces ({os.strerror(number)});"
            f" {contain.IN_DOCKER}"
        )
    return tuple(_NAMESPACES)


def _explain(name: str, number: int) -> str:
    if name == "user":
        return contain.explain(OSError(number, os.strerror(number)))
    limit = f"user.max_{name}_namespaces"
    if number == errno.ENOSPC:
        return f"{name} namespaces are used up; repair as root with: sysctl -w {limit}=10000"
    return f"{name} namespaces cannot be used ({os.strerror(number)}); {contain.IN_DOCKER}"


def _mount_in_child() -> int:
    """Error number: only a child is inside the new PID namespace."""
    child = os.fork()
    if child == 0:
        number = 0
        try:
            mounts.mount("none", "/", flags=mounts.RECURSIVE | mounts.SLAVE)
            mounts.mount("khala", "/tmp", "tmpfs")
            mounts.mount("proc", "/proc", "proc")
        except OSError as error:
            number = error.errno or errno.EIO
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def try_cgroups(config: SandboxConfig) -> Enforcement:
    """What can be enforced with cgroups. Raises Rejected as the sandbox's start does."""
    with put_back(config.name):
        tree, enforcement = modes.open_tree(msgspec.structs.replace(config, allow_degraded=False))
        tree.close()
    return enforcement


class Trial(Struct, frozen=True, kw_only=True):
    """A jail that worked."""

    enforcement: Enforcement
    warnings: tuple[str, ...]
    took_ms: float


def try_jail(config: SandboxConfig) -> Trial:
    """Open a sandbox, which runs a jail with the real profile, and close it; where there are no
    cgroups, without. Raises Rejected as the sandbox's start does."""
    config = msgspec.structs.replace(config, allow_degraded=True)
    with put_back(config.name):
        modes.enter(config)
        return asyncio.run(_open_and_close(config))


async def _open_and_close(config: SandboxConfig) -> Trial:
    began = time.monotonic()
    sandbox = await Sandbox.open(config)
    took_ms = (time.monotonic() - began) * 1000
    await sandbox.close()
    return Trial(enforcement=sandbox.enforcement, warnings=sandbox.warnings, took_ms=took_ms)


@contextmanager
def put_back(name: str) -> Iterator[None]:
    """Remove what a sandbox of that name leaves behind, and give back the group it takes."""
    taken = _Taken.look()
    try:
        yield
    finally:
        tops = [*_v1_mounts(), *([taken.base] if taken else [])]
        for top in tops:
            for folder in (f"{top}/{subtree.PARENT}/{name}", f"{top}/{subtree.PARENT}"):
                with suppress(OSError):  # not there, or in use by a real sandbox
                    os.rmdir(folder)
        if taken is not None:
            with suppress(OSError):
                taken.give_back()


def _v1_mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[4] for line in lines if " - cgroup " in line]


@dataclass(frozen=True, slots=True)
class _Taken:
    """The group of version 2 that a sandbox would take, as it is before."""

    base: str
    handed_down: tuple[str, ...]
    emptied: bool

    @classmethod
    def look(cls) -> _Taken | None:
        try:
            base = cgroup_v2.find_base()
            handed_down = Path(base, "cgroup.subtree_control").read_text().split()
        except (Rejected, OSError):
            return None
        return cls(base, tuple(handed_down), os.path.isdir(f"{base}/{cgroup_v2.OWN}"))

    def give_back(self) -> None:
        """Bring the processes back, unless another sandbox has the group too. Raises OSError."""
        own = f"{self.base}/{cgroup_v2.OWN}"
        if os.path.isdir(f"{self.base}/{subtree.PARENT}"):
            return
        for one in cgroup_v2.CONTROLLERS:
            if one not in self.handed_down:
                Path(self.base, "cgroup.subtree_control").write_text(f"-{one}")
        for _ in range(_MOVE_ROUNDS if not self.emptied else 0):
            for pid in Path(own, "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    Path(self.base, "cgroup.procs").write_text(pid)
            with suppress(OSError):
                os.rmdir(own)
                return
