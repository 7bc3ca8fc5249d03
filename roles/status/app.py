"""`status`: the processes of this data directory, and the cluster as its judicator sees it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from khala.config.settings import Settings
from khala.model.errors import KhalaError
from khala.model.executor import CacheCounts
from khala.model.limits import MIB
from khala.model.spec import Network
from khala.net.address_book import AddressBook
from khala.net.client import JudicatorClient
from khala.protocol.rpc import ClusterView
from khala.supervise.child import ChildView, State
from khala.supervise.tree import TreeView, read_trees
from roles.belonging import any_credentials

_ASK_S = 5.0
_NOT_ACCEPTING = 69


class Process(Struct, frozen=True, kw_only=True):
    """One process of this host. `since_s`: seconds since the epoch."""

    name: str
    state: State
    pid: int | None
    restarts: int
    since_s: float
    last_exit: str | None


class Status(Struct, frozen=True, kw_only=True):
    accepting: bool
    data_dir: str
    processes: list[Process]
    #: None when no judicator answers; `why` says so then.
    cluster: ClusterView | None
    why: str | None


def run(settings: Settings, *, as_json: bool) -> int:
    """Print; 0 if tasks are accepted, 69 if not."""
    status = asyncio.run(_collect(settings))
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(status), indent=2).decode())
    else:
        print(_text(status))
    return 0 if status.accepting else _NOT_ACCEPTING


async def _collect(settings: Settings) -> Status:
    trees = read_trees(Path(settings.data_dir) / "run")
    processes = _processes(trees)
    # What runs here knows its port; the settings are for a host without a judicator.
    address = trees[0].rpc if trees else settings.judicators[0]
    cluster, why = None, None
    client = JudicatorClient(AddressBook([address]), any_credentials(settings))
    try:
        cluster = await client.view_from(address, _ASK_S)
    except KhalaError as error:
        why = error.message
    finally:
        await client.close()
    return Status(
        accepting=cluster is not None and cluster.serving,
        data_dir=settings.data_dir,
        processes=processes,
        cluster=cluster,
        why=why,
    )


def _processes(trees: list[TreeView]) -> list[Process]:
    found: list[Process] = []
    for tree in trees:
        if not any(each.pid == tree.pid for each in found):
            own = ChildView(
                name=tree.role,
                state=State.UP,
                pid=tree.pid,
                restarts=0,
                since_s=Path(f"/proc/{tree.pid}").stat().st_ctime,
                last_exit=None,
            )
            found.append(_process(own))
        found += [_process(child) for child in tree.children]
    return found


def _process(view: ChildView) -> Process:
    return msgspec.convert(msgspec.structs.asdict(view), Process)


def _text(status: Status) -> str:
    lines = [f"data in {status.data_dir}", ""]
    if not status.processes:
        lines.append("No process of Khala runs with this data directory.")
    for each in status.processes:
        age = _age(time.time() - each.since_s)
        ended = f"  last end: {each.last_exit}" if each.last_exit else ""
        pid = str(each.pid or "-")
        lines.append(
            f"{each.name:<16} {each.state:<9} pid {pid:<8} {age:>8}"
            f"  restarts {each.restarts}{ended}"
        )
    lines.append("")
    if status.cluster is None:
        lines.append(f"No judicator answers: {status.why}")
        return "\n".join(lines)
    cluster = status.cluster
    lines.append(
        f"{'Accepting tasks' if cluster.serving else 'NOT accepting tasks'}:"
        f" {cluster.queued} queued, {cluster.leased} running; version {cluster.version}"
    )
    for view in cluster.executors:
        record = view.record
        free = "?" if view.free is None else str(view.free)
        lines.append(
            f"executor {record.name}: {record.state}, {free} of {record.slots} slots free,"
            f" {record.enforcement}{_cache(view.cache)}"
        )
        if record.cordon is not None:
            lines.append(
                f"  cordoned since {record.cordon.since:%Y-%m-%d %H:%M} UTC, it gets no new work:"
                f" {record.cordon.reason or 'no reason given'}"
            )
        lines += [
            f"  image {image.name}: {image.size_bytes / MIB:.0f} MiB, identity {image.identity}"
            for image in record.images
        ]
        if Network.FULL in record.networks:
            lines.append("  tasks may ask for its network")
        if record.enforces is not None and record.enforces.unenforced:
            lines.append(f"  WARNING: it does not enforce {record.enforces.gaps}")
    lines += [
        f"judicator {judicator.name}: {judicator.address}{', leads' * judicator.leader}"
        for judicator in cluster.judicators
    ]
    lines += cluster.notes
    return "\n".join(lines)


def _cache(counts: CacheCounts | None) -> str:
    """What its compile cache did since it started, once it was asked."""
    if counts is None or not counts.hits + counts.misses:
        return ""
    return f", compile cache hit {counts.hits} of {counts.hits + counts.misses}"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
