"""(e) What a task costs in processor time, by process, from the system's own accounting.

Throughput on a shared machine moves with its neighbours; processor time moves far less, and it
says where to look. The time of jails is found where it goes to when they end: at the executor,
which reaps them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.model.errors import Unavailable
from khala.supervise.tree import TreeView

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Costs(Struct, frozen=True, kw_only=True):
    """Processor time of each part, of one task or of many."""

    jail: float
    executor: float
    judicator: float
    mongod: float
    gateway: float
    etcd: float
    #: The processes that start the others and wait.
    supervisors: float
    #: This benchmark's own process.
    client: float

    @property
    def total(self) -> float:
        return float(sum(msgspec.structs.astuple(self)))

    def since(self, earlier: Costs) -> Costs:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(earlier), strict=True)
        return Costs(**dict(zip(self.__struct_fields__, (a - b for a, b in pairs), strict=True)))


def combine(slices: list[Costs], tasks: int) -> Costs:
    """Milliseconds per task, from the seconds of several rounds."""
    columns = zip(*(msgspec.structs.astuple(each) for each in slices), strict=True)
    per_task = (round(sum(column) * 1000 / tasks, 2) for column in columns)
    return Costs(**dict(zip(Costs.__struct_fields__, per_task, strict=True)))


def read_costs(data_dir: Path) -> Costs:
    """Seconds since the start of each process of the `up` that runs there."""
    pids = dict(_pids(data_dir / "run" / "up.json")) | dict(
        _pids(data_dir / "run" / "judicator.json")
    )
    executor = pids["executor"]
    own_s, reaped_s = _times(executor)
    return Costs(
        jail=reaped_s + sum(sum(_times(pid)) for pid in _descendants(executor)),
        executor=own_s,
        judicator=_times(pids["judicator-serve"])[0],
        mongod=_times(pids["mongod"])[0],
        gateway=_times(pids["gateway"])[0],
        etcd=_times(pids["etcd"])[0],
        supervisors=_times(pids["up"])[0] + _times(pids["judicator"])[0],
        client=time.process_time(),
    )


def _pids(report: Path) -> Iterator[tuple[str, int]]:
    try:
        tree = msgspec.json.decode(report.read_bytes(), type=TreeView)
    except (OSError, msgspec.MsgspecError) as error:
        raise Unavailable(f"{report} does not say what runs: {error}") from error
    yield tree.role, tree.pid
    for child in tree.children:
        if child.pid is not None:
            yield child.name, child.pid


def _times(pid: int) -> tuple[float, float]:
    """Own seconds, and those of the children it has reaped; nothing of a process that is gone."""
    fields = _stat(pid)
    if fields is None:
        return 0.0, 0.0
    user, system, reaped_user, reaped_system = (int(field) for field in fields[11:15])
    return (user + system) / _TICKS_PER_S, (reaped_user + reaped_system) / _TICKS_PER_S


def _descendants(ancestor: int) -> set[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (fields := _stat(int(folder.name))) is not None:
            parents[int(folder.name)] = int(fields[1])
    family = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family - {ancestor}


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on; a command's name may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
