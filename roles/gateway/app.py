"""The gateway process: composition, start and stop.

It keeps nothing: whatever it shows comes from a judicator when it is asked for, so any number of
gateways can run, and one that is killed loses nothing but its open connections.
"""

from __future__ import annotations

import asyncio
import signal

import structlog

from khala.net.address_book import AddressBook
from khala.net.client import JudicatorClient
from khala.net.feed import EventFeed
from khala.net.httpd import Bind, Routes, Server, create_app, serve
from khala.net.joining import keep_renewed
from khala.net.loop import run as run_loop
from khala.net.secrets import SecretFile
from roles.gateway.accounts import Accounts
from roles.gateway.admission import Admission
from roles.gateway.artifacts import ArtifactRoutes
from roles.gateway.audit import Audit
from roles.gateway.blobs import BLOBS_BYTES, BlobRoutes
from roles.gateway.bodies import Budget
from roles.gateway.cases import CaseRoutes
from roles.gateway.cluster import Cluster
from roles.gateway.config import GatewayConfig, LegacyApi
from roles.gateway.guard import Guard
from roles.gateway.hub import Hub
from roles.gateway.identities import Identities
from roles.gateway.job_acts import JobActs
from roles.gateway.job_graph import JobGraphs
from roles.gateway.job_logs import JobLogs
from roles.gateway.jobs import JobRoutes
from roles.gateway.kv2 import Kv2
from roles.gateway.metrics import Metrics
from roles.gateway.operations import register
from roles.gateway.probes import Probes
from roles.gateway.reference import Reference
from roles.gateway.request_limit import RequestLimit
from roles.gateway.sessions import SessionRoutes
from roles.gateway.static import StaticSite, find_built_site
from roles.gateway.uploads import UploadRoutes
from roles.gateway.v2 import V2
from roles.gateway.v2_actions import TaskActions
from roles.gateway.v2_acts import TaskActs
from roles.gateway.v2_audit import AuditRoutes
from roles.gateway.v2_autoscale import AutoscaleRoutes
from roles.gateway.v2_backups import BackupRoutes
from roles.gateway.v2_cluster import ClusterActs
from roles.gateway.v2_config import ConfigRoutes
from roles.gateway.v2_create import V2Create
from roles.gateway.v2_diff import DiffRoutes
from roles.gateway.v2_events import EventRoutes
from roles.gateway.v2_explain import Explanations
from roles.gateway.v2_inputs import InputRoutes
from roles.gateway.v2_joining import JoinTokenRoutes
from roles.gateway.v2_list import TaskLists
from roles.gateway.v2_logs import LogRoutes
from roles.gateway.v2_me import MeRoutes
from roles.gateway.v2_nodes import NodeActs
from roles.gateway.v2_patch import TaskPatches
from roles.gateway.v2_presets import PresetRoutes
from roles.gateway.v2_queue import QueueRoutes
from roles.gateway.v2_quota import QuotaRoutes
from roles.gateway.v2_stats import StatsRoutes
from roles.gateway.v2_tickets import TicketRoutes
from roles.gateway.v2_tokens import TokenRoutes
from roles.gateway.v2_users import UserRoutes

log = structlog.get_logger()

#: Those of the second API.
HANDLERS = (
    V2Create,
    V2,
    SessionRoutes,
    MeRoutes,
    UserRoutes,
    TokenRoutes,
    TicketRoutes,
    AuditRoutes,
    EventRoutes,
    BlobRoutes,
    UploadRoutes,
    ArtifactRoutes,
    CaseRoutes,
    DiffRoutes,
    InputRoutes,
    LogRoutes,
    TaskLists,
    Explanations,
    QueueRoutes,
    StatsRoutes,
    AutoscaleRoutes,
    QuotaRoutes,
    PresetRoutes,
    JobActs,
    JobGraphs,
    JobLogs,
    JobRoutes,
    TaskActs,
    TaskActions,
    TaskPatches,
    NodeActs,
    ClusterActs,
    JoinTokenRoutes,
    BackupRoutes,
    ConfigRoutes,
    Reference,
)
#: Requests under way when the gateway is stopped get this long.
STOP_S = 5.0
#: Bodies of everything but submissions.
SMALL_BODY_BYTES = 64 * 1024
#: Submissions at their limit that may be under way at once.
LARGE_AT_ONCE = 2


class Gateway:
    """`listen`, then `follow` for as long as it runs; `close` it whatever happened."""

    def __init__(self, config: GatewayConfig, site: StaticSite) -> None:
        self._config = config
        self._site = site
        book = AddressBook(config.judicators, config.judicators_file)
        self._client = JudicatorClient(book, config.credentials)
        self._cluster = Cluster(self._client)
        self._identities = Identities(self._client)
        self._hub = Hub()
        self._metrics = Metrics(self._client, self._hub)
        self._feed = EventFeed(book, config.credentials, self._hub.on_event, self._hub.on_gap)
        self._hub.follow_logs = self._feed.follow_logs
        self._logs = LogRoutes(self._client, self._hub)
        self._metrics.watch_logs(self._logs)
        self._events = EventRoutes(self._hub.log, self._cluster)
        self._metrics.watch_events(self._events)
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port that was bound; 0 before `listen`."""
        return self._server.port if self._server else 0

    async def listen(self) -> None:
        """Raise `Rejected` if the settings do not allow it."""
        config = self._config
        token = None
        if config.token_file is not None:
            token = SecretFile(config.token_file, flag="--token-file")
            token.read()
        app = create_app("gateway", self._site.render_failure, body_bytes=SMALL_BODY_BYTES)
        limit = None
        if config.request_rate is not None:
            limit = RequestLimit(config.request_rate)
            limit.register(app)
            self._metrics.watch_limit(limit)
        guard = Guard(config, token, self._identities, limit)
        guard.register(app)
        routes = Routes(app, self._metrics.observe)
        self._add_routes(
            routes,
            SessionRoutes(
                client=self._client, identities=self._identities, guard=guard, token=token
            ),
        )
        routes.finish()
        bind = Bind(host=config.bind, port=config.port, flag="--http-port")
        self._server = await serve(app, bind)
        log.info("gateway.serving", host=config.bind, port=self.port)

    async def follow(self) -> None:
        """Listen to the judicators; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.serve())
            tasks.create_task(self._cluster.learn_addresses())
            tasks.create_task(self._events.watch_queue())
            tasks.create_task(keep_renewed(self._config.credentials, self._client))

    def _add_routes(self, routes: Routes, sessions: SessionRoutes) -> None:
        config, budget = self._config, Budget(LARGE_AT_ONCE * self._config.max_body_bytes)
        admission = Admission(self._client, Audit(self._client))
        self._metrics.watch_access(self._identities, admission)
        if config.legacy_api is not LegacyApi.OFF:
            Kv2(
                client=self._client,
                cluster=self._cluster,
                config=config,
                budget=budget,
                hub=self._hub,
                admission=admission,
            ).register(routes)
        reference = Reference(HANDLERS, config)
        tickets = TicketRoutes(client=self._client, token=sessions.token)
        for handlers in (*self._handlers(budget), sessions, tickets, reference):
            register(routes, handlers, admission.before)
        reference.register_pages(routes)
        Probes(self._cluster).register(routes)
        routes.add("GET", "/metrics", self._metrics.answer)
        self._site.register(routes)

    def _handlers(self, budget: Budget) -> tuple[object, ...]:
        """Of the second API, but for what is made elsewhere."""
        config, blobs = self._config, Budget(BLOBS_BYTES)
        accounts = Accounts(client=self._client, identities=self._identities)
        return (
            V2Create(
                client=self._client,
                cluster=self._cluster,
                config=config,
                budget=budget,
                hub=self._hub,
            ),
            V2(client=self._client, cluster=self._cluster, hub=self._hub),
            MeRoutes(identities=self._identities),
            UserRoutes(accounts=accounts),
            TokenRoutes(accounts=accounts),
            AuditRoutes(client=self._client),
            BlobRoutes(client=self._client, config=config, budget=blobs),
            UploadRoutes(client=self._client, config=config, budget=blobs),
            ArtifactRoutes(client=self._client),
            CaseRoutes(client=self._client),
            DiffRoutes(client=self._client),
            InputRoutes(client=self._client),
            TaskLists(client=self._client),
            Explanations(client=self._client, cluster=self._cluster),
            QueueRoutes(client=self._client),
            StatsRoutes(client=self._client),
            AutoscaleRoutes(client=self._client, cluster=self._cluster),
            QuotaRoutes(client=self._client),
            PresetRoutes(client=self._client, config=config),
            TaskActs(client=self._client, config=config, hub=self._hub),
            TaskActions(client=self._client),
            TaskPatches(client=self._client, cluster=self._cluster),
            NodeActs(client=self._client, cluster=self._cluster),
            ClusterActs(client=self._client),
            JoinTokenRoutes(client=self._client),
            BackupRoutes(client=self._client, cluster=self._cluster),
            ConfigRoutes(client=self._client, cluster=self._cluster, config=config),
            self._logs,
            JobActs(client=self._client),
            JobGraphs(client=self._client),
            JobLogs(client=self._client),
            self._events,
            JobRoutes(client=self._client, config=config, budget=budget),
        )

    async def close(self) -> None:
        """End streams, let requests under way finish, and stop listening."""
        self._hub.stop()
        if self._server is not None:
            await self._server.close(STOP_S)
        await self._identities.close()
        await self._client.close()
        log.info("gateway.stopped")


def run(config: GatewayConfig) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    run_loop(_main(config))
    return 0


async def _main(config: GatewayConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(config, StaticSite(find_built_site()))
    try:
        await gateway.listen()
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(gateway.follow())
            await stop.wait()
            following.cancel()
    finally:
        await gateway.close()
