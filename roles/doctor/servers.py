"""The programs that come with Khala, the cluster's secret, and the ports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from msgspec import Struct

from khala.config.settings import Settings
from khala.model.errors import Rejected, Unavailable
from khala.net.secrets import SecretFile
from khala.supervise.binaries import find_program, version_of
from khala.supervise.probes import require_free
from khala.supervise.tree import read_trees
from roles.doctor.finding import Finding, good, refused, warning, worst

_LISTENING = "0A"


def check_etcd(settings: Settings) -> Finding:
    return _program("etcd", settings.etcd.bin)


def check_mongod(settings: Settings) -> Finding:
    return _program("mongod", settings.mongodb.bin)


def _program(name: str, named: str | None) -> Finding:
    program = find_program(name, named)
    return good(f"{version_of(program)}, {program}")


def check_nsjail(settings: Settings) -> Finding:
    """It cannot tell its version; that it works is a check of its own."""
    return good(str(find_program("nsjail", settings.nsjail.bin)))


def check_secret(settings: Settings) -> Finding:
    path = Path(settings.secret_file)
    try:
        SecretFile(path, flag="--secret-file").read()
    except Unavailable:
        return good(f"{path} is made by the judicator's first start")
    return good(str(path))


class Listener(Struct, frozen=True, kw_only=True):
    """A port that somebody listens on, and who; 0: a process that this user may not look at."""

    port: int
    pid: int
    program: str


def check_judicators_ports(settings: Settings) -> Finding:
    return _ports(
        settings,
        settings.bind,
        {
            "--etcd-peer-port": settings.etcd.peer_port,
            "--etcd-client-port": settings.etcd.client_port,
            "--mongodb-port": settings.mongodb.port,
            "--rpc-port": settings.rpc.port,
        },
    )


def check_gateways_port(settings: Settings) -> Finding:
    return _ports(settings, settings.gateway.bind, {"--http-port": settings.gateway.port})


def _ports(settings: Settings, host: str, ports: dict[str, int]) -> Finding:
    trees = read_trees(Path(settings.data_dir) / "run")
    own = {tree.pid for tree in trees} | {
        child.pid for tree in trees for child in tree.children if child.pid is not None
    }
    taken = {each.port: each for each in listeners(frozenset(ports.values()))}
    return worst(
        [
            judge_port(flag, port, taken.get(port), own, partial(require_free, host, wait_s=0))
            for flag, port in ports.items()
        ]
    )


def judge_port(
    flag: str,
    port: int,
    listener: Listener | None,
    own: Iterable[int],
    try_it: Callable[[int, str], None],
) -> Finding:
    """`own`: processes of the Khala that runs with this data directory."""
    if listener is not None and listener.pid and _descends(listener.pid, set(own)):
        return good(f"{port} is in use by this Khala")
    try:
        try_it(port, flag)
    except Rejected as error:
        finding = refused(error)
        if listener is None:
            return finding
        if not listener.pid:
            if own:
                return warning(f"{port} is in use, perhaps by the Khala that runs here", "sudo")
            return finding
        return Finding(
            level=finding.level,
            found=f"{finding.found}: process {listener.pid} ({listener.program})",
            repair=f"kill {listener.pid}, or another {flag}",
        )
    return good(f"{port} is free")


def _descends(pid: int, ancestors: set[int]) -> bool:
    """Whether the process or one above it is among these."""
    while pid > 1:
        if pid in ancestors:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False


def listeners(ports: frozenset[int]) -> list[Listener]:
    """Who listens on one of these, whatever the address."""
    inodes: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            port = int(fields[1].rpartition(":")[2], 16)
            if fields[3] == _LISTENING and port in ports:
                inodes[f"socket:[{fields[9]}]"] = port
    if not inodes:
        return []
    holders = _holders(set(inodes))
    return [
        Listener(port=port, pid=holders.get(name, 0), program=_name_of(holders.get(name, 0)))
        for name, port in inodes.items()
    ]


def _holders(sockets: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
                if target in sockets:
                    found.setdefault(target, int(pid))
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
