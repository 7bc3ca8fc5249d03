"""`judicator-serve`: the process that speaks RPC, dispatches and records.

It is separate from the supervisor so that killing it touches neither MongoDB nor etcd: it comes
back within a second, executors reconnect and show what they hold, and nothing had to be restored
because nothing but hints lived here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import msgspec
import structlog

from khala.coordination.etcd_rpc import EtcdRpc
from khala.coordination.membership import Entry, Identity, Membership
from khala.core.dispatch import Dispatcher
from khala.core.recovery import Recovery
from khala.model.ids import Incarnation, JudicatorName, mint_nonce
from khala.model.limits import MIB, check_timers
from khala.net.auth import require_secret
from khala.net.httpd import Bind, create_app, serve
from khala.net.rpc_errors import render_rpc_failure
from khala.net.secrets import SecretFile
from khala.store.client import MongoSettings, connect, database_of, ensure_replica_set
from khala.store.mongo import MongoStore
from khala.store.schema import ensure_schema
from roles.judicator.api import Api, Services
from roles.judicator.chores import Chores
from roles.judicator.cluster import Cluster
from roles.judicator.events import Events
from roles.judicator.executors import ExecutorSockets
from roles.judicator.submit import Submissions
from roles.judicator.world import World

log = structlog.get_logger()

#: How long a stop may take: requests under way end, the committer flushes.
STOP_S = 8.0
#: The supervisor kills a process that has not written to its watchdog pipe for ten seconds.
WATCHDOG_INTERVAL_S = 1.0
#: Room in a request beside the payload itself.
ENVELOPE_BYTES = 1 * MIB


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the serving process is told."""

    name: JudicatorName
    cluster: str
    host: str
    port: int
    advertise: str
    mongodb_hosts: tuple[str, ...]
    replica_set: str
    etcd_endpoints: tuple[str, ...]
    secret_file: Path
    max_body_bytes: int
    watchdog_fd: int | None = None


def run(config: ServeConfig) -> int:
    """Serve until SIGTERM; the exit code."""
    check_timers()
    import uvloop

    return uvloop.run(_main(config))


async def _main(config: ServeConfig) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = connect(MongoSettings(hosts=config.mongodb_hosts, replica_set=config.replica_set))
    etcd = EtcdRpc(config.etcd_endpoints)
    try:
        await ensure_replica_set(config.mongodb_hosts[0], config.replica_set)
        store = MongoStore(database_of(client))
        await ensure_schema(store.database)
        await _serve(config, store, etcd, stop)
    finally:
        await etcd.close()
        await client.close()
    return 0


async def _serve(
    config: ServeConfig, store: MongoStore, etcd: EtcdRpc, stop: asyncio.Event
) -> None:
    incarnation = Incarnation(mint_nonce())
    events = Events()
    world = World(events.publish_task)
    dispatcher = Dispatcher(config.name, incarnation, store.dispatch, world)
    recovery = Recovery(dispatcher)
    chores = Chores(dispatcher, recovery, store.sessions)
    membership = Membership(
        etcd,
        Identity(
            cluster=config.cluster,
            name=config.name,
            entry=Entry(address=config.advertise, incarnation=incarnation),
        ),
        lambda: store.sessions.take_leadership(config.name, incarnation),
    )
    cluster = Cluster(dispatcher, store.tasks, store.sessions, membership)
    sockets = ExecutorSockets(dispatcher, recovery, world)
    app = create_app(
        "judicator", render_rpc_failure, body_bytes=config.max_body_bytes + ENVELOPE_BYTES
    )
    secret = SecretFile(config.secret_file, flag="--secret-file")
    require_secret(app, secret, render_rpc_failure)
    Api(
        Services(
            dispatcher=dispatcher,
            submissions=Submissions(dispatcher, store.payloads, config.max_body_bytes),
            tasks=store.tasks,
            payloads=store.payloads,
            outputs=store.outputs,
            lanes=store.committer,
            cluster=cluster,
            events=events,
            sockets=sockets,
        )
    ).register(app)

    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(store.committer.run()),
            tasks.create_task(chores.tick()),
            tasks.create_task(chores.pulse(config.name)),
            tasks.create_task(chores.touch()),
            tasks.create_task(chores.lead(membership, store.payloads, store.outputs)),
            tasks.create_task(membership.run()),
            tasks.create_task(_share_peers(membership, world)),
            tasks.create_task(cluster.watch(events)),
            tasks.create_task(events.announce_touched(world, store.tasks)),
        ]
        if config.watchdog_fd is not None:
            loops.append(tasks.create_task(_feed_watchdog(config.watchdog_fd)))
        server = await serve(app, Bind(host=config.host, port=config.port, flag="--rpc-port"))
        log.info("judicator.serving", address=config.advertise, incarnation=incarnation)
        world.broken.add_done_callback(lambda _: stop.set())
        await stop.wait()
        dispatcher.serving = False
        await server.close(STOP_S / 2)
        await world.drain(STOP_S / 4)
        await store.committer.drain(STOP_S / 4)
        for each in loops:
            each.cancel()
        if world.broken.done():
            world.broken.result()
    log.info("judicator.stopped")


async def _share_peers(membership: Membership, world: World) -> None:
    """Executors are told where else they may go."""
    while True:
        world.set_peers([record.address for record in membership.judicators()])
        await asyncio.sleep(1.0)


async def _feed_watchdog(fd: int) -> None:
    """Proof that the event loop turns."""
    os.set_blocking(fd, False)
    while True:
        with contextlib.suppress(BlockingIOError):
            os.write(fd, b".")
        await asyncio.sleep(WATCHDOG_INTERVAL_S)
