"""Counted numbers on their way from the process that counts to the one that is asked."""

from __future__ import annotations

from msgspec import Struct


class MetricSample(Struct, frozen=True, kw_only=True):
    """One line of Prometheus' text format."""

    name: str
    labels: dict[str, str]
    value: float


class MetricFamily(Struct, frozen=True, kw_only=True):
    name: str
    #: Prometheus' word: counter, gauge, histogram, info.
    kind: str
    help: str
    samples: list[MetricSample]
