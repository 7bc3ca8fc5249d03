"""Token buckets: how many requests each of many callers may still send.

A bucket begins with all of its burst, each request takes one out of it, and it fills again at the
rate. So one that was silent for as long as that takes is as good as none, which is why it does no
harm to forget those that were silent longest.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct


class Standing(Struct, frozen=True, kw_only=True):
    """Of a bucket, after a request."""

    #: There was room for it; otherwise it took nothing.
    taken: bool
    #: Requests that there is room for now, and what is there of the next one.
    level: float
    #: Until there is room for one more.
    more_in_s: float


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Buckets:
    """One for each key, up to `bound`; beyond that the one that was silent longest begins anew."""

    def __init__(self, *, per_second: float, burst: int, bound: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._bound = bound
        #: In the order of their last requests.
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: str, now: float) -> Standing:
        """For one request."""
        found = self.look(key, now)
        self._buckets.pop(key, None)
        while len(self._buckets) >= self._bound:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = _Bucket(found.level, now)
        return found

    def look(self, key: str, now: float) -> Standing:
        """What `take` would answer."""
        bucket = self._buckets.get(key)
        level = float(self._burst)
        if bucket is not None:
            level = min(level, bucket.level + (now - bucket.at) * self._per_second)
        taken = level >= 1
        if taken:
            level -= 1
        more_in_s = (int(level) + 1 - level) / self._per_second
        return Standing(taken=taken, level=level, more_in_s=more_in_s)
