"""Numbers for Prometheus: what every registry of ours has, and how one travels.

Names follow Prometheus' rules: prefix `khala_`, base units (seconds, bytes), `_total` on counters.
A label takes its values from a closed list (states, reasons, lanes, nodes of the cluster), never
from users: a task id as a label would grow the registry with every task.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.metrics_core import Metric

from khala.model.metrics import MetricFamily, MetricSample
from khala.version import VERSION

#: From a jail's start to an hour of waiting, in steps of about three.
SECONDS_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0, 3600.0)
ITEMS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def create_registry(role: str) -> CollectorRegistry:
    """A registry with the version and what the kernel says of this process."""
    registry = CollectorRegistry(auto_describe=True)
    Info("khala_build", "Version and role of this process.", registry=registry).info(
        {"version": VERSION, "role": role}
    )
    ProcessCollector(registry=registry)
    return registry


def families_of(registry: CollectorRegistry) -> list[MetricFamily]:
    """Everything in it, as it travels."""
    return [
        MetricFamily(
            name=metric.name,
            kind=metric.type,
            help=metric.documentation,
            samples=[
                MetricSample(name=sample.name, labels=sample.labels, value=sample.value)
                # When a counter was made is of use to no dashboard, and doubles the lines.
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ],
        )
        for metric in registry.collect()
    ]


def merge(families: Iterable[tuple[dict[str, str], MetricFamily]]) -> list[Metric]:
    """One metric of each name, with the samples of all its families; the labels given with a
    family are added to each of its samples."""
    merged: dict[str, Metric] = {}
    for labels, family in families:
        metric = merged.get(family.name)
        if metric is None:
            metric = merged[family.name] = Metric(family.name, family.help, family.kind)
        for sample in family.samples:
            metric.add_sample(sample.name, {**sample.labels, **labels}, sample.value)
    return list(merged.values())
