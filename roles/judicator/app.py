"""The judicator's supervisor: etcd, mongod and the serving process, in this order.

It does nothing else, so that it has nothing to crash on: killing the serving process costs a
second and no election, killing a database costs its restart, and when the supervisor itself is
killed, its children get a signal from the kernel.
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from msgspec import Struct

from khala.config.settings import Settings
from khala.pki.node import SERVER_NAME, NodeTls
from khala.supervise import binaries
from khala.supervise.child import ChildSpec
from khala.supervise.datadir import Node, keep_member_address, lock_dir, make_dir
from khala.supervise.etcd import EtcdSettings, etcd_argv
from khala.supervise.etcd import Tls as EtcdFiles
from khala.supervise.mongod import MongodSettings, MongodTls, mongod_argv
from khala.supervise.probes import Tls, http_ok, require_free, tcp_answers
from khala.supervise.tree import Identity as TreeIdentity
from khala.supervise.tree import Tree
from roles.command import command
from roles.judicator.founding import announce, take_place

log = structlog.get_logger()

#: A member of a replica set steps down and checkpoints before it ends.
MONGOD_STOP_S = 25.0


def run(settings: Settings, *, init: bool = False) -> int:
    """Supervise until SIGTERM or SIGINT; the exit code."""
    data_dir = make_dir(Path(settings.data_dir))
    # Before the event loop takes the signals: this may wait for databases that an earlier run
    # has left, and Ctrl-C must end that.
    log.debug("datadir.locking", data_dir=settings.data_dir)
    lock = lock_dir(data_dir)
    node, identity = take_place(settings, data_dir, init=init)
    place = Place(
        settings=settings,
        node=node,
        identity=identity,
        existing=announce(settings, node, identity) if identity else "",
        data_dir=data_dir,
        lock=lock,
    )
    return asyncio.run(_main(place))


class Place(Struct, frozen=True, kw_only=True):
    """What the children are made of. `identity`: None in a cluster without certificates."""

    settings: Settings
    node: Node
    identity: NodeTls | None
    #: What etcd is to be started with to join others.
    existing: str
    data_dir: Path
    lock: int
    #: etcd is to forget the other members.
    alone: bool = False


async def _main(place: Place) -> int:
    settings = place.settings
    for flag, port in (
        ("--etcd-peer-port", settings.etcd.peer_port),
        ("--etcd-client-port", settings.etcd.client_port),
        ("--mongodb-port", settings.mongodb.port),
        ("--rpc-port", settings.rpc.port),
    ):
        require_free(settings.bind, port, flag)
    stop, started = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    specs = [etcd_of(place), mongod_of(place), _serve(place)]
    identity = TreeIdentity(role="judicator", rpc=f"{settings.local}:{settings.rpc.port}")
    state_file = place.data_dir / "run" / "judicator.json"
    return await Tree(identity, specs, state_file).run(stop, started)


def etcd_of(place: Place) -> ChildSpec:
    """This node's member of etcd."""
    settings, node, identity = place.settings, place.node, place.identity
    etcd = EtcdSettings(
        program=binaries.find_program("etcd", settings.etcd.bin),
        name=node.name,
        cluster=node.cluster,
        data_dir=make_dir(place.data_dir / "etcd"),
        host=settings.bind,
        peer_port=settings.etcd.peer_port,
        client_port=settings.etcd.client_port,
        advertise=settings.advertised,
        existing=place.existing,
        alone=place.alone,
        tls=EtcdFiles(node=identity.node_file, authority=identity.authority_file, peers=SERVER_NAME)
        if identity
        else None,
    )
    return ChildSpec(
        name="etcd",
        argv=etcd_argv(etcd),
        probe=partial(
            http_ok,
            settings.local,
            settings.etcd.client_port,
            "/health",
            Tls(partial(_current, identity), SERVER_NAME) if identity else None,
        ),
        on_line=_relay("etcd", _etcd_level),
        may_give_up=True,
        inherit=(place.lock,),
    )


def _current(identity: NodeTls) -> ssl.SSLContext:
    """The serving process renews the certificate; this one notices."""
    identity.refresh()
    return identity.client


def mongod_of(place: Place) -> ChildSpec:
    """This node's member of the replica set."""
    settings, identity = place.settings, place.identity
    program = binaries.find_program("mongod", settings.mongodb.bin)
    binaries.require_libraries(program)
    mongod = MongodSettings(
        program=program,
        data_dir=make_dir(place.data_dir / "mongodb"),
        host=settings.bind,
        port=settings.mongodb.port,
        replica_set=settings.mongodb.replica_set,
        tls=MongodTls(
            node=identity.node_file,
            authority=identity.authority_file,
            key=identity.mongodb_key_file,
        )
        if identity
        else None,
    )
    keep_member_address(place.data_dir, f"{settings.advertised}:{settings.mongodb.port}")
    return ChildSpec(
        name="mongod",
        argv=mongod_argv(mongod),
        stop_s=MONGOD_STOP_S,
        probe=partial(tcp_answers, settings.local, settings.mongodb.port),
        on_line=_relay("mongod", _mongod_level),
        may_give_up=True,
        inherit=(place.lock,),
    )


def _serve(place: Place) -> ChildSpec:
    settings, node = place.settings, place.node
    return ChildSpec(
        name="judicator-serve",
        argv=(
            *command("judicator-serve", settings),
            *("--name", node.name, "--cluster", node.cluster),
        ),
        death_signal="KILL",
        probe=partial(tcp_answers, settings.local, settings.rpc.port),
        watchdog=True,
    )


def _relay(component: str, level_of: Callable[[dict[str, object]], str]) -> Callable[[str], None]:
    """Re-emit a database's warnings as events of ours; the rest only at level debug."""
    relay = log.bind(component=component)

    def on_line(line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {}
        if not isinstance(entry, dict):
            entry = {}
        level = level_of(entry)
        emit = {"warning": relay.warning, "error": relay.error}.get(level, relay.debug)
        emit(f"{component}.said", line=line[:2000])

    return on_line


def _etcd_level(entry: dict[str, object]) -> str:
    level = str(entry.get("level", ""))
    return {"warn": "warning", "error": "error", "fatal": "error", "panic": "error"}.get(level, "")


def _mongod_level(entry: dict[str, object]) -> str:
    return {"E": "error", "F": "error"}.get(str(entry.get("s", "")), "")
