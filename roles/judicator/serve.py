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
from collections.abc import Coroutine
from pathlib import Path

import msgspec
import structlog

from khala.coordination.etcd_rpc import EtcdRpc
from khala.coordination.membership import Entry, Identity, Membership
from khala.core.dispatch import Dispatcher
from khala.core.recovery import Recovery
from khala.model.ids import Incarnation, JudicatorName, TaskId, mint_nonce
from khala.model.limits import BLOB_CHUNK_BYTES, MIB, check_timers
from khala.model.task import Task
from khala.net.auth import require_secret
from khala.net.httpd import App, Bind, Server, create_app, serve
from khala.net.loop import run as run_loop
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
from roles.judicator.metrics import Metrics
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
    return run_loop(_main(config))


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
        await Judicator(config, store, etcd).serve(stop)
    finally:
        await etcd.close()
        await client.close()
    return 0


class Judicator:
    """The parts of a serving process, put together."""

    def __init__(self, config: ServeConfig, store: MongoStore, etcd: EtcdRpc) -> None:
        self._config = config
        self._store = store
        self._incarnation = Incarnation(mint_nonce())
        self._events = Events(self._find_ended)
        self._metrics = Metrics(config.name)
        self._world = World(self._events.publish_task, self._metrics.observe)
        self._dispatcher = Dispatcher(config.name, self._incarnation, store.dispatch, self._world)
        self._recovery = Recovery(self._dispatcher)
        self._chores = Chores(self._dispatcher, self._recovery, store.sessions)
        entry = Entry(address=config.advertise, incarnation=self._incarnation)
        self._membership = Membership(
            etcd,
            Identity(cluster=config.cluster, name=config.name, entry=entry),
            lambda: store.sessions.take_leadership(config.name, self._incarnation),
        )
        self._cluster = Cluster(self._dispatcher, store.tasks, store.sessions, self._membership)
        self._metrics.attach(self._dispatcher, self._membership, store.committer)

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; a defect in a loop or a flow ends it with that defect."""
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(loop) for loop in self._loops()]
            bind = Bind(host=self._config.host, port=self._config.port, flag="--rpc-port")
            server = await serve(self._app(), bind)
            log.info(
                "judicator.serving",
                address=self._config.advertise,
                incarnation=self._incarnation,
            )
            self._world.broken.add_done_callback(lambda _: stop.set())
            await stop.wait()
            await self._wind_down(server)
            for loop in loops:
                loop.cancel()
            if self._world.broken.done():
                self._world.broken.result()
        log.info("judicator.stopped")

    def _find_ended(self, task: TaskId) -> Task | None:
        return self._dispatcher.recent.get(task)

    def _loops(self) -> list[Coroutine[object, object, None]]:
        store, chores = self._store, self._chores
        loops = [
            store.committer.run(),
            chores.tick(),
            chores.pulse(self._config.name),
            chores.touch(),
            chores.lead(self._membership, store.blobs, (store.payloads, store.outputs)),
            self._membership.run(),
            _share_peers(self._membership, self._world),
            self._cluster.watch(self._events),
            self._events.announce_touched(self._world, store.tasks),
        ]
        if self._config.watchdog_fd is not None:
            loops.append(_feed_watchdog(self._config.watchdog_fd))
        return loops

    def _app(self) -> App:
        limit = self._config.max_body_bytes
        app = create_app(
            "judicator",
            render_rpc_failure,
            body_bytes=max(limit, BLOB_CHUNK_BYTES) + ENVELOPE_BYTES,
        )
        secret = SecretFile(self._config.secret_file, flag="--secret-file")
        require_secret(app, secret, render_rpc_failure)
        services = Services(
            dispatcher=self._dispatcher,
            submissions=Submissions(
                self._dispatcher, self._store.blobs, self._store.sessions, limit
            ),
            tasks=self._store.tasks,
            blobs=self._store.blobs,
            payloads=self._store.payloads,
            outputs=self._store.outputs,
            lanes=self._store.committer,
            cluster=self._cluster,
            metrics=self._metrics,
            leadership=self._membership,
            events=self._events,
            sockets=ExecutorSockets(self._dispatcher, self._recovery, self._world),
        )
        Api(services).register(app)
        return app

    async def _wind_down(self, server: Server) -> None:
        """Accept nothing new, let requests, flows and batches under way end."""
        self._dispatcher.serving = False
        await server.close(STOP_S / 2)
        await self._world.drain(STOP_S / 4)
        await self._store.committer.drain(STOP_S / 4)


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
