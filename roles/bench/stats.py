"""Latency summaries: sorted samples in, percentiles out."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Latency(Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


def summarize(samples_s: Sequence[float]) -> Latency:
    """Nearest-rank percentiles of at least one sample in seconds."""
    ordered = sorted(samples_s)

    def rank(share: float) -> float:
        index = min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))
        return round(ordered[index] * 1000, 3)

    return Latency(p50_ms=rank(0.50), p95_ms=rank(0.95), p99_ms=rank(0.99))
