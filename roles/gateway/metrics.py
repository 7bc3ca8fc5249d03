"""`/metrics`: this gateway's own numbers, and those of every judicator that answers.

One address to scrape for a whole cluster. Judicators count what they see (queue, attempts, commits,
the executors connected to them); their samples carry the label `judicator`. With several gateways,
scrape one for those and the others for their own: what a judicator says is the same everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.access import Role
from khala.model.errors import KhalaError, Unavailable
from khala.model.metrics import MetricFamily
from khala.net.client import JudicatorClient
from khala.obs.metrics import SECONDS_BUCKETS, create_registry, families_of, merge
from khala.protocol.rpc import MetricsView
from roles.gateway.admission import Admission
from roles.gateway.callers import caller_of
from roles.gateway.hub import Hub
from roles.gateway.identities import Asked, Identities
from roles.gateway.request_limit import RequestLimit
from roles.gateway.v2_events import EventRoutes
from roles.gateway.v2_logs import LogRoutes

#: A judicator that takes longer is left out of this answer.
ASK_S = 2.0
#: By whether they are known.
_CALLERS = {True: "known", False: "unknown"}


class Metrics:
    """`observe` is called for every request; `answer` is the route."""

    def __init__(self, client: JudicatorClient, hub: Hub) -> None:
        self._client = client
        self._registry = registry = create_registry("gateway")
        self._requests = Counter(
            "khala_http_requests",
            "Answers of this gateway.",
            ["route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "khala_http_request_seconds",
            "Until the answer was made; long polls and streams last as long as they are asked to.",
            ["route"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        streams = Gauge("khala_event_streams", "Event streams open here.", registry=registry)
        streams.set_function(lambda: hub.log.readers)
        self._stalled = Counter(
            "khala_log_stalled",
            "Followers that were disconnected because they took nothing.",
            registry=registry,
        )
        self._events_stalled = Counter(
            "khala_event_stalled",
            "Event streams that were disconnected because they took nothing.",
            registry=registry,
        )
        self._followers = Gauge(
            "khala_log_followers", "Readers that follow logs here.", registry=registry
        )
        self._identified = Counter(
            "khala_identifications",
            "Questions to the judicators who a token stands for; most requests need none.",
            ["outcome"],
            registry=registry,
        )
        for asked in Asked:
            self._identified.labels(asked.value)
        self._refused = Counter(
            "khala_refused",
            "Requests that the role of who asked did not allow.",
            ["role"],
            registry=registry,
        )
        for role in Role:
            self._refused.labels(role.value)
        self._limited = Counter(
            "khala_rate_limited",
            "Requests beyond those that one caller may send a second.",
            ["caller"],
            registry=registry,
        )
        for caller in _CALLERS.values():
            self._limited.labels(caller)
        self._answering = Gauge(
            "khala_judicators_answering", "Judicators whose numbers are below.", registry=registry
        )

    def watch_logs(self, logs: LogRoutes) -> None:
        self._followers.set_function(lambda: logs.followers)
        logs.on_stalled = self._stalled.inc

    def watch_events(self, events: EventRoutes) -> None:
        events.on_stalled = self._events_stalled.inc

    def watch_access(self, identities: Identities, admission: Admission) -> None:
        identities.on_asked = lambda asked: self._identified.labels(asked.value).inc()
        admission.on_refused = lambda role: self._refused.labels(role.value).inc()

    def watch_limit(self, limit: RequestLimit) -> None:
        limit.on_limited = lambda known: self._limited.labels(_CALLERS[known]).inc()

    def observe(self, route: str, status: int, took_s: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(took_s)

    async def answer(self, request: Request) -> HTTPResponse:
        """Prometheus' text format; complete for this gateway even if no judicator answers."""
        try:
            caller_of(request)
            addresses = self._client.book.addresses
        except Unavailable:  # nor could any say who asks: then only what is this process' own
            addresses = []
        views = await asyncio.gather(*(self._ask(address) for address in addresses))
        # One judicator may be known by two addresses.
        answered = {view.judicator: view for view in views if view is not None}
        self._answering.set(len(answered))
        own: list[tuple[dict[str, str], MetricFamily]] = [
            ({}, family) for family in families_of(self._registry)
        ]
        theirs = [
            ({"judicator": str(name)}, family)
            for name, view in sorted(answered.items())
            for family in view.families
        ]
        return HTTPResponse(
            generate_latest(_Merged(merge([*own, *theirs]))),
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
            content_type=CONTENT_TYPE_LATEST,
        )

    async def _ask(self, address: str) -> MetricsView | None:
        try:
            return await self._client.metrics_from(address, ASK_S)
        except KhalaError:
            return None


class _Merged(Collector):
    """What `generate_latest` takes: something that yields metrics."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics
