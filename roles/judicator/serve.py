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
from collections.abc import Callable, Coroutine

import structlog

from khala.coordination.etcd_care import EtcdCare
from khala.coordination.etcd_rpc import EtcdRpc
from khala.coordination.handover import Handover
from khala.coordination.membership import Entry, Identity, Membership
from khala.core.dependencies import Dependencies
from khala.core.dispatch import Dispatcher
from khala.core.expansion import Expansion
from khala.core.recovery import Recovery
from khala.model.ids import Incarnation, TaskId, mint_nonce
from khala.model.limits import BLOB_CHUNK_BYTES, MIB, check_timers
from khala.model.task import Task, TaskBrief
from khala.net.auth import require_secret
from khala.net.httpd import App, Bind, Routes, Server, create_app, serve
from khala.net.loop import end_all
from khala.net.loop import run as run_loop
from khala.net.rpc_errors import render_rpc_failure
from khala.net.secrets import SecretFile
from khala.pki.node import JUDICATOR, NodeTls
from khala.protocol.doctor import Report
from khala.protocol.members import Member, Standing
from khala.store.client import MongoSettings, connect, database_of, ensure_replica_set
from khala.store.codec import Database
from khala.store.mongo import MongoStore
from khala.store.roster import MongoRoster
from khala.store.schema import ensure_schema
from khala.store.tokens import MongoTokens
from roles.examining import keep_examined
from roles.judicator.access import require_certificate
from roles.judicator.access_routes import register_access
from roles.judicator.api import Api, Services
from roles.judicator.backup_routes import BackupRoutes
from roles.judicator.backups import Backups
from roles.judicator.chores import Chores
from roles.judicator.cluster import Cluster
from roles.judicator.config import ServeConfig
from roles.judicator.doctor_routes import DoctorRoutes
from roles.judicator.events import Events
from roles.judicator.executors import ExecutorSockets
from roles.judicator.graph import GraphRoutes
from roles.judicator.jobs import Jobs, JobStores
from roles.judicator.joining import ClosedRoutes, JoiningRoutes, Terms
from roles.judicator.keeping_in_force import KeepingInForce
from roles.judicator.leadership import LeadershipRoutes
from roles.judicator.log_routes import LogRoutes
from roles.judicator.logs import LiveRuns, Logs
from roles.judicator.member_routes import MemberRoutes
from roles.judicator.members import Members
from roles.judicator.metrics import Metrics
from roles.judicator.node_routes import NodeRoutes
from roles.judicator.preset_routes import PresetRoutes
from roles.judicator.queue import QueueRoutes
from roles.judicator.quotas import Admission
from roles.judicator.quotas_in_force import QuotasInForce
from roles.judicator.renewal import Renewal, etcd_tls, mongo_settings
from roles.judicator.retention import Retaining
from roles.judicator.settings_in_force import SettingsInForce
from roles.judicator.settings_routes import SettingsRoutes
from roles.judicator.statistics import Statistics
from roles.judicator.submit import Submissions, SubmitParts
from roles.judicator.uploads import UploadRoutes
from roles.judicator.world import World

log = structlog.get_logger()

#: How long a stop may take: requests under way end, the committer flushes.
STOP_S = 8.0
#: The supervisor kills a process that has not written to its watchdog pipe for ten seconds.
WATCHDOG_INTERVAL_S = 1.0
#: Room in a request beside the payload itself.
ENVELOPE_BYTES = 1 * MIB


def run(config: ServeConfig) -> int:
    """Serve until SIGTERM; the exit code."""
    check_timers()
    return run_loop(_main(config))


async def _main(config: ServeConfig) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings = _mongo_settings(config)
    client = connect(settings)
    etcd = EtcdRpc(config.etcd_endpoints, etcd_tls(config.identity) if config.identity else None)
    try:
        await ensure_replica_set(settings, initiate=config.initiate)
        store = MongoStore(database_of(client))
        await ensure_schema(store.database)
        await store.prepare()
        in_force = SettingsInForce(
            store.cluster_settings,
            QuotasInForce(config.quotas, store.quotas),
            KeepingInForce(config.keeping),
        )
        await in_force.refresh()
        await Judicator(config, store, etcd, in_force).serve(stop)
    finally:
        await etcd.close()
        await client.close()
    return 0


def _mongo_settings(config: ServeConfig) -> MongoSettings:
    return mongo_settings(config.mongodb_hosts, config.replica_set, config.identity)


class Judicator:
    """The parts of a serving process, put together."""

    def __init__(
        self, config: ServeConfig, store: MongoStore, etcd: EtcdRpc, in_force: SettingsInForce
    ) -> None:
        self._config, self._store, self._etcd = config, store, etcd
        self._in_force = in_force
        self._incarnation = Incarnation(mint_nonce())
        self._events = Events(self._find_ended)
        self._metrics = Metrics(config.name)
        self._keeping = in_force.keeping
        self._retaining = Retaining(self._keeping.retention, store.retention, self._metrics)
        self._statistics = Statistics(store.statistics)
        self._backups = Backups(config.name, config.backups, self._keeping.backups_kept)
        self._live_runs = LiveRuns(store.live)
        self._world = World(self._publish, self._metrics.observe)
        self._dispatcher = Dispatcher(config.name, self._incarnation, store.dispatch, self._world)
        self._recovery = Recovery(self._dispatcher)
        self._care = care = EtcdCare(etcd)
        self._chores = Chores(
            self._dispatcher, self._recovery, store.sessions, lambda: not care.corrupt
        )
        self._admission = Admission(
            in_force.quotas, store.quotas, self._dispatcher, self._metrics.count_refused
        )
        self._expansion = Expansion(
            self._dispatcher, store.expansion, self._world, self._admission.hold
        )
        self._dependencies = Dependencies(self._dispatcher, store.predecessors, self._world)
        entry = Entry(address=config.own.rpc, incarnation=self._incarnation)
        self._membership = Membership(
            etcd,
            Identity(cluster=config.cluster, name=config.name, entry=entry),
            lambda: store.sessions.take_leadership(config.name, self._incarnation),
            lambda: self._dispatcher.serving,
        )
        self._members = Members(etcd, MongoRoster(store.database), config.own, config.members_file)
        self._cluster = Cluster(
            self._dispatcher, store.tasks, store.sessions, self._membership, care
        )
        self._cluster.keep = self._keeping.retention
        self._metrics.attach(self._dispatcher, self._membership, store.committer)

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; a defect in a loop or a flow ends it with that defect."""
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(loop) for loop in self._loops()]
            identity = self._config.identity
            bind = Bind(
                host=self._config.host,
                port=self._config.port,
                flag="--rpc-port",
                tls=identity.server if identity else None,
            )
            server = await serve(await self._app(), bind)
            log.info(
                "judicator.serving",
                address=self._config.own.rpc,
                incarnation=self._incarnation,
            )
            self._world.broken.add_done_callback(lambda _: stop.set())
            await stop.wait()
            await self._wind_down(server)
            await end_all(loops)
            if self._world.broken.done():
                self._world.broken.result()
        log.info("judicator.stopped")

    def _publish(self, brief: TaskBrief) -> None:
        self._live_runs.changed(brief)
        self._events.publish_task(brief)
        self._expansion.on_changed(brief)
        self._dependencies.on_changed(brief)
        self._admission.on_changed(brief)

    def _find_ended(self, task: TaskId) -> Task | None:
        return self._dispatcher.recent.get(task)

    def _loops(self) -> list[Coroutine[object, object, None]]:
        store, chores = self._store, self._chores
        loops = [
            store.committer.run(),
            chores.tick(self._expansion, self._dependencies),
            chores.pulse(self._config.name),
            chores.touch(),
            chores.lead(self._membership, store.blobs, store.collectors, store.audit),
            self._retaining.run(self._membership),
            self._statistics.run(self._membership),
            self._in_force.keep_looking(),
            self._in_force.keep_following(),
            self._admission.run(),
            self._live_runs.serve(),
            self._membership.run(),
            self._care.run(),
            self._backups.run(),
            _share_peers(self._membership, self._world),
            self._cluster.watch(self._events),
            self._events.announce_touched(self._world, store.tasks),
            keep_examined(self._config.doctor, self._keep_examination),
        ]
        if self._config.watchdog_fd is not None:
            loops.append(_feed_watchdog(self._config.watchdog_fd, lambda: chores.hung))
        if self._config.identity is not None:
            loops.append(_renew(self._config, self._config.identity, self._etcd, store.database))
            loops.append(self._members.tend(self._membership))
            loops.append(self._members.follow(self._on_members))
        return loops

    async def _keep_examination(self, report: Report) -> None:
        await self._store.examinations.keep(self._config.name, JUDICATOR, report)

    def _on_members(self, members: list[Member]) -> None:
        """etcd is asked wherever it is; MongoDB's driver finds its members itself."""
        self._cluster.members = [m.name for m in members if m.standing is Standing.MEMBER]
        own, *_ = self._config.etcd_endpoints
        others = (each.etcd_client for each in members if each.name != self._config.name)
        if (endpoints := (own, *others)) != self._etcd.endpoints:
            self._world.spawn(self._reopen(endpoints))

    async def _reopen(self, endpoints: tuple[str, ...]) -> None:
        identity = self._config.identity
        await self._etcd.reopen(endpoints, etcd_tls(identity) if identity else None)

    async def _app(self) -> App:
        limit = self._config.max_body_bytes
        app = create_app(
            "judicator",
            render_rpc_failure,
            body_bytes=max(limit, BLOB_CHUNK_BYTES) + ENVELOPE_BYTES,
        )
        _require_callers(app, self._config)
        store = self._store
        parts = SubmitParts(
            dependencies=self._dependencies,
            admission=self._admission,
            blobs=store.blobs,
            executors=store.sessions,
            keep=self._keeping.retention,
        )
        submissions = Submissions(self._dispatcher, parts, limit)
        services = Services(
            dispatcher=self._dispatcher,
            submissions=submissions,
            jobs=Jobs(
                submissions=submissions,
                dispatcher=self._dispatcher,
                expansion=self._expansion,
                stores=JobStores(
                    jobs=store.jobs, members=store.members, blobs=store.blobs, tasks=store.tasks
                ),
                keep=self._keeping.retention,
            ),
            tasks=self._store.tasks,
            forgetting=self._store.forgetting,
            dependencies=self._dependencies,
            blobs=self._store.blobs,
            payloads=self._store.payloads,
            outputs=self._store.outputs,
            lanes=self._store.committer,
            cluster=self._cluster,
            metrics=self._metrics,
            leadership=self._membership,
            events=self._events,
            sockets=ExecutorSockets(self._dispatcher, self._recovery, self._world),
            logs=_logs(store, self._live_runs, self._events, self._metrics, self._find_ended),
        )
        routes = Routes(app)
        Api(services).register(app, routes)
        NodeRoutes(self._dispatcher.sessions, store.sessions).register(routes)
        LeadershipRoutes(Handover(self._etcd, self._config.cluster)).register(routes)
        _register_views(routes, store, services.jobs)
        register_access(routes, store, self._world, self._keeping.audit_life)
        beside = (BackupRoutes(self._backups), SettingsRoutes(self._in_force))
        for part in (self._retaining, self._statistics, self._admission, *beside):
            part.register(routes)
        if self._config.identity is not None:
            (await self._joining(self._config.identity)).register(routes)
            await self._members.found()
            MemberRoutes(self._members).register(routes)
        else:
            ClosedRoutes().register(routes)
        routes.finish()
        return app

    async def _joining(self, identity: NodeTls) -> JoiningRoutes:
        tokens = MongoTokens(self._store.database)
        await tokens.prepare()
        return JoiningRoutes(identity, tokens, _terms(self._config), self._addresses)

    def _addresses(self) -> list[str]:
        known = [record.address for record in self._membership.judicators()]
        return known or [self._config.own.rpc]

    async def _wind_down(self, server: Server) -> None:
        """Accept nothing new, let requests, flows and batches under way end."""
        self._dispatcher.serving = False
        await server.close(STOP_S / 2)
        await self._world.drain(STOP_S / 4)
        await self._store.committer.drain(STOP_S / 4)


def _register_views(routes: Routes, store: MongoStore, jobs: Jobs) -> None:
    """What needs nothing but what is stored."""
    PresetRoutes(store.presets).register(routes)
    QueueRoutes(store.queue).register(routes)
    GraphRoutes(jobs, store.successors).register(routes)
    UploadRoutes(store.uploads).register(routes)
    DoctorRoutes(store.examinations).register(routes)


def _terms(config: ServeConfig) -> Terms:
    return Terms(
        cluster=config.cluster,
        life=config.certificate_life,
        replica_set=config.replica_set,
        epoch=config.own.epoch,
    )


async def _renew(config: ServeConfig, identity: NodeTls, etcd: EtcdRpc, database: Database) -> None:
    renewal = Renewal(
        identity=identity,
        life=config.certificate_life,
        etcd=etcd,
        database=database,
        mongo=_mongo_settings(config),
    )
    await renewal.run()


def _require_callers(app: App, config: ServeConfig) -> None:
    """Of who calls: a certificate, or what every process of the cluster shares."""
    if config.identity is not None:
        require_certificate(app, render_rpc_failure)
    else:
        secret = SecretFile(config.secret_file, flag="--secret-file")
        require_secret(app, secret, render_rpc_failure)


def _logs(
    store: MongoStore,
    runs: LiveRuns,
    events: Events,
    metrics: Metrics,
    find_ended: Callable[[TaskId], Task | None],
) -> LogRoutes:
    return LogRoutes(
        logs=Logs(store.tasks, store.outputs, store.live, find_ended),
        runs=runs,
        lanes=store.committer,
        events=events,
        metrics=metrics,
    )


async def _share_peers(membership: Membership, world: World) -> None:
    """Executors are told where else they may go."""
    while True:
        world.set_peers([record.address for record in membership.judicators()])
        await asyncio.sleep(1.0)


async def _feed_watchdog(fd: int, hung: Callable[[], bool]) -> None:
    """Proof that the event loop turns, and that what it waits for ever comes."""
    os.set_blocking(fd, False)
    while not hung():
        with contextlib.suppress(BlockingIOError):
            os.write(fd, b".")
        await asyncio.sleep(WATCHDOG_INTERVAL_S)
