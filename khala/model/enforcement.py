"""What an executor's host lets it enforce: found out at its start, stamped on every result.

A limit that is not enforced must not look like one that is. So an executor that runs without
cgroups says what it cannot do, in words of a closed list, wherever its work is shown.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Mode(StrEnum):
    """How the processes of a stage are held together, limited and measured."""

    CGROUP_V1 = "cgroup_v1"
    CGROUP_V2 = "cgroup_v2"
    #: Without cgroups: limits of single processes, and the executor's own timers.
    DEGRADED = "degraded"


class Unenforced(StrEnum):
    """What mode `degraded` does not do."""

    #: Each process may use the memory limit for itself, all together more.
    MEMORY_TOTAL = "memory_total"
    #: Memory that processes share is not counted at all.
    SHARED_MEMORY = "shared_memory"
    #: Files in the box, in /tmp and in /dev/shm have their own bounds, and are not memory.
    FILE_MEMORY = "file_memory"
    #: A stage may use every processor of the host.
    CPU_SHARE = "cpu_share"
    #: The processor time of all processes together is sampled; what ends between is missed.
    CPU_TOTAL = "cpu_total"
    #: A program that gets no memory or no process fails in its own way: the reasons `memory`
    #: and `process_limit` are not given.
    LIMIT_REASONS = "limit_reasons"


_WHAT = {
    Unenforced.MEMORY_TOTAL: "memory of all processes together (each has the limit for itself)",
    Unenforced.SHARED_MEMORY: "shared memory",
    Unenforced.FILE_MEMORY: "files in memory as part of the memory limit",
    Unenforced.CPU_SHARE: "the share of processors",
    Unenforced.CPU_TOTAL: "processor time of all processes together (it is sampled)",
    Unenforced.LIMIT_REASONS: "telling a lack of memory or processes from an ordinary failure",
}


class Enforcement(Struct, frozen=True, kw_only=True):
    """What holds on one executor."""

    mode: Mode
    #: Whether every slot has a uid of its own; if not, tasks run as the executor's user.
    root: bool
    unenforced: tuple[Unenforced, ...] = ()

    @property
    def label(self) -> str:
        """For people, in few words: "root, cgroup v1"."""
        held = "no cgroups" if self.mode is Mode.DEGRADED else self.mode.replace("_", " ")
        return f"{'root' if self.root else 'not root'}, {held}"

    @property
    def gaps(self) -> str:
        """For people: what is not enforced; empty when everything is."""
        return "; ".join(_WHAT[one] for one in self.unenforced)
