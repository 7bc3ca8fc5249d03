"""What a judicator counts, for `/metrics` of any gateway.

Counters and histograms are fed by the facts of dispatch and by the lanes of the committer; they
begin at zero with each start, as Prometheus expects. Gauges are read when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from khala.core.dispatch import Dispatcher
from khala.core.facts import AttemptRecorded, AttemptRetried, AttemptReturned, Fact
from khala.model.dates import utc_now
from khala.model.ids import JudicatorName
from khala.model.live import LiveChunk
from khala.model.outcome import StageOutcome
from khala.model.spec import Stage
from khala.obs.metrics import ITEMS_BUCKETS, SECONDS_BUCKETS, create_registry, families_of
from khala.protocol.rpc import MetricsView
from khala.store.committer import Committer
from khala.store.protocols import TaskStore
from roles.judicator.chores import Leadership

_MS_PER_S = 1000


class Metrics:
    """`observe` and `count_accepted` are called on the task path; `view` when somebody asks."""

    def __init__(self, name: JudicatorName) -> None:
        self._name = name
        self._registry = registry = create_registry("judicator")
        self._accepted = Counter(
            "khala_tasks_accepted",
            "Submissions answered with a task; a replay is one whose key was used before.",
            ["replay"],
            registry=registry,
        )
        self._attempts = Counter(
            "khala_attempts",
            "Attempts whose result was recorded, by how the task ended and why.",
            ["ending", "reason"],
            registry=registry,
        )
        self._live, self._live_delay = _count_live(registry)
        self._forgotten, self._forgotten_bytes = _count_forgotten(registry)
        self._cases = Counter(
            "khala_cases",
            "Cases of recorded results, by verdict; none: nothing was expected.",
            ["verdict"],
            registry=registry,
        )
        self._refused = _count_refusals(registry)
        self._returned = Counter(
            "khala_attempts_returned",
            "Attempts that ended and not their task: lost with their executor or sandbox, given"
            " back by it, or retried for their result.",
            ["cause"],
            registry=registry,
        )
        self._wait = Histogram(
            "khala_task_wait_seconds",
            "From acceptance to the lease of the attempt that was recorded.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._run = Histogram(
            "khala_task_run_seconds",
            "From the lease of the recorded attempt to its result.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._wall = Histogram(
            "khala_stage_wall_seconds",
            "Wall time of stages.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._cpu = Counter(
            "khala_stage_cpu_seconds",
            "Processor time of stages.",
            ["stage", "mode"],
            registry=registry,
        )
        self._tasks, self._oldest = _watch_queue(registry)

    def attach(self, dispatcher: Dispatcher, leadership: Leadership, committer: Committer) -> None:
        """Begin to watch the parts of this process; once."""
        self._registry.register(_State(dispatcher, leadership, committer))
        items = Histogram(
            "khala_commit_batch_items",
            "Transitions that travelled to MongoDB together.",
            ["lane"],
            buckets=ITEMS_BUCKETS,
            registry=self._registry,
        )
        seconds = Histogram(
            "khala_commit_seconds",
            "From a batch's departure until each of its items had an answer.",
            ["lane"],
            buckets=SECONDS_BUCKETS,
            registry=self._registry,
        )
        for lane in committer.lanes:
            lane.observe = partial(
                _observe_batch, items.labels(lane.name), seconds.labels(lane.name)
            )

    def count_accepted(self, *, replay: bool) -> None:
        self._accepted.labels("true" if replay else "false").inc()

    def count_live(self, chunks: Sequence[LiveChunk]) -> None:
        """They are stored now."""
        now = utc_now()
        for chunk in chunks:
            self._live.inc(len(chunk.data))
            self._live_delay.observe(max(0.0, (now - chunk.at).total_seconds()))

    def count_forgotten(self, tasks: int, size_bytes: int) -> None:
        self._forgotten.inc(tasks)
        self._forgotten_bytes.inc(size_bytes)

    def count_refused(self, quota: str) -> None:
        self._refused.labels(quota).inc()

    def observe(self, fact: Fact) -> None:
        match fact:
            case AttemptRecorded():
                self._observe_recorded(fact)
            case AttemptRetried():
                self._returned.labels("retried").inc()
            case AttemptReturned():
                cause = "lost" if fact.crash else "drained" if fact.drained else "given_back"
                self._returned.labels(cause).inc()

    def _observe_recorded(self, fact: AttemptRecorded) -> None:
        outcome = fact.outcome
        self._attempts.labels(outcome.ending, outcome.reason).inc()
        if fact.started_at is not None:
            wait = fact.started_at - fact.task.submitted_at
            self._wait.observe(max(0.0, wait.total_seconds()))
            run = fact.recorded_at - fact.started_at
            self._run.observe(max(0.0, run.total_seconds()))
        for stage, ended in ((Stage.COMPILE, outcome.compile), (Stage.EXECUTE, outcome.execute)):
            if ended is not None:
                self._observe_stage(stage, ended)
        for case in outcome.cases:
            verdict = case.judgement.verdict if case.judgement is not None else "none"
            self._cases.labels(verdict).inc()

    def _observe_stage(self, stage: Stage, ended: StageOutcome) -> None:
        self._wall.labels(stage).observe(ended.wall_ms / _MS_PER_S)
        self._cpu.labels(stage, "user").inc(ended.cpu_user_ms / _MS_PER_S)
        self._cpu.labels(stage, "system").inc(ended.cpu_system_ms / _MS_PER_S)

    async def view(self, tasks: TaskStore) -> MetricsView:
        """Everything, with the cluster's queue read from the store. Raises `Unavailable`."""
        counts = await tasks.counts()
        self._tasks.labels("queued").set(counts.queued)
        self._tasks.labels("held").set(counts.held)
        self._tasks.labels("leased").set(counts.leased)
        oldest = await tasks.oldest_queued()
        age = utc_now() - oldest if oldest else None
        self._oldest.set(max(0.0, age.total_seconds()) if age else 0.0)
        return MetricsView(judicator=self._name, families=families_of(self._registry))


def _count_refusals(registry: CollectorRegistry) -> Counter:
    return Counter(
        "khala_quota_refusals",
        "Submissions that were refused because of their user's quota, by which.",
        ["quota"],
        registry=registry,
    )


def _count_forgotten(registry: CollectorRegistry) -> tuple[Counter, Counter]:
    tasks = Counter(
        "khala_retention_tasks",
        "Ended tasks that were removed because no more are to be kept.",
        registry=registry,
    )
    size = Counter("khala_retention_bytes", "What they took up, uncompressed.", registry=registry)
    return tasks, size


def _count_live(registry: CollectorRegistry) -> tuple[Counter, Histogram]:
    size = Counter(
        "khala_live_output_bytes",
        "Stored of what programs write while they run.",
        registry=registry,
    )
    delay = Histogram(
        "khala_live_output_delay_seconds",
        "From being read from a running program until stored, by the clocks of two hosts.",
        buckets=SECONDS_BUCKETS,
        registry=registry,
    )
    return size, delay


def _watch_queue(registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    tasks = Gauge("khala_tasks", "Open tasks of the cluster.", ["state"], registry=registry)
    oldest = Gauge(
        "khala_queue_oldest_seconds",
        "Age of the oldest of the tasks that are next; 0 without one.",
        registry=registry,
    )
    return tasks, oldest


def _observe_batch(items: Histogram, seconds: Histogram, count: int, took_s: float) -> None:
    items.observe(count)
    seconds.observe(took_s)


class _State(Collector):
    """Gauges of what this process knows, read when they are asked for."""

    def __init__(
        self, dispatcher: Dispatcher, leadership: Leadership, committer: Committer
    ) -> None:
        self._dispatcher = dispatcher
        self._leadership = leadership
        self._committer = committer

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "khala_judicator_serving",
            "1 while a majority acknowledges writes.",
            float(self._dispatcher.serving),
        )
        yield GaugeMetricFamily(
            "khala_judicator_leader",
            "1 while this judicator does the cluster's chores.",
            float(self._leadership.term() is not None),
        )
        slots = GaugeMetricFamily(
            "khala_executor_slots", "Slots of the executors connected here.", labels=["executor"]
        )
        free = GaugeMetricFamily(
            "khala_executor_free_slots", "Slots that would start a task now.", labels=["executor"]
        )
        for session in self._dispatcher.sessions.values():
            if session.conn is not None:
                slots.add_metric([session.name], session.slots)
                free.add_metric([session.name], session.free)
        yield slots
        yield free
        yield from self._caches()
        waiting = GaugeMetricFamily(
            "khala_commit_waiting_items",
            "Transitions that wait for their batch; full at 4096.",
            labels=["lane"],
        )
        for lane in self._committer.lanes:
            waiting.add_metric([lane.name], lane.waiting)
        yield waiting

    def _caches(self) -> Iterator[Metric]:
        """Executors count since their own start."""
        asked = CounterMetricFamily(
            "khala_compile_cache_lookups",
            "Compile stages that an executor's cache had, and those that it had not.",
            labels=["executor", "found"],
        )
        size = GaugeMetricFamily(
            "khala_compile_cache_bytes", "What the cache of an executor holds.", labels=["executor"]
        )
        for session in self._dispatcher.sessions.values():
            if session.conn is not None and session.cache is not None:
                asked.add_metric([session.name, "true"], session.cache.hits)
                asked.add_metric([session.name, "false"], session.cache.misses)
                size.add_metric([session.name], session.cache.size_bytes)
        yield asked
        yield size
