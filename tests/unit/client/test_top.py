"""Numbers of several processes, some of which began again in between."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from khala.protocol.v2 import Nodes
from roles.client.top import Samples, load_of, quantiles_of, screen_of

_NOBODY = Nodes(judicators=[], executors=[])


class Cluster:
    """Metrics as two judicators give them."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.queued = Gauge("khala_tasks", "", ["judicator", "state"], registry=registry)
        self.ended = Counter("khala_attempts", "", ["judicator", "ending"], registry=registry)
        self.wait = Histogram(
            "khala_task_wait_seconds", "", ["judicator"], buckets=(0.1, 1.0), registry=registry
        )

        self.lookups = Counter(
            "khala_compile_cache_lookups", "", ["judicator", "executor", "found"], registry=registry
        )

    @property
    def samples(self) -> Samples:
        return Samples(generate_latest(self._registry).decode())


def test_what_all_judicators_say_of_the_cluster_counts_once() -> None:
    cluster = Cluster()
    cluster.queued.labels("a", "queued").set(7)
    cluster.queued.labels("b", "queued").set(6)
    assert load_of(cluster.samples, _NOBODY, None, 1.0).queued == 7


def test_rates_are_of_the_time_between_two_looks() -> None:
    cluster = Cluster()
    cluster.ended.labels("a", "succeeded").inc(100)
    before = cluster.samples
    cluster.ended.labels("a", "succeeded").inc(6)
    cluster.ended.labels("b", "failed").inc(4)
    assert load_of(before, _NOBODY, None, 2.0).ended_per_s is None
    assert load_of(cluster.samples, _NOBODY, before, 2.0).ended_per_s == 5.0


def test_a_judicator_that_began_again_makes_no_negative_rate() -> None:
    long, short = Cluster(), Cluster()
    long.ended.labels("a", "succeeded").inc(100)
    assert load_of(short.samples, _NOBODY, long.samples, 2.0).ended_per_s == 0.0


def test_quantiles_are_of_what_was_added() -> None:
    cluster = Cluster()
    for _ in range(1000):
        cluster.wait.labels("a").observe(5.0)
    before = cluster.samples
    for _ in range(98):
        cluster.wait.labels("a").observe(0.05)
    for _ in range(2):
        cluster.wait.labels("b").observe(0.5)
    wait = load_of(cluster.samples, _NOBODY, before, 1.0).wait
    assert (wait.p50_s, wait.p99_s) == (0.1, 1.0)


@pytest.mark.parametrize("counts", [{}, {1.0: 0.0, float("inf"): 0.0}])
def test_nothing_has_no_quantiles(counts: dict[float, float]) -> None:
    assert quantiles_of(counts, {}).p50_s is None


def test_beyond_the_last_bucket_is_not_guessed() -> None:
    assert quantiles_of({1.0: 0.0, float("inf"): 3.0}, {}).p50_s is None


def test_an_empty_cluster_says_what_to_do() -> None:
    assert "khala.pex executor" in screen_of(load_of(Cluster().samples, _NOBODY, None, 1.0))[-1]


def test_the_share_that_a_cache_had_is_of_the_time_between_two_looks() -> None:
    cluster = Cluster()
    assert load_of(cluster.samples, _NOBODY, None, 1.0).cache_share is None
    cluster.lookups.labels("a", "e1", "false").inc(90)
    before = cluster.samples
    cluster.lookups.labels("a", "e1", "true").inc(2)
    cluster.lookups.labels("b", "e2", "true").inc(1)
    cluster.lookups.labels("b", "e2", "false").inc(1)
    load = load_of(cluster.samples, _NOBODY, before, 1.0)
    assert load.cache_share == 0.75
    assert any(line.startswith("compiled     75% found") for line in screen_of(load))
