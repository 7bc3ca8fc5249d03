"""How long an executor bears with a judicator that is silent, or that cannot write: longer than a
heartbeat may be late, and not so long that attempts run for nobody."""

from __future__ import annotations

from khala.model.limits import LINK_TIMEOUT_S, ORPHAN_TTL_S, PULSE_TTL_S


class Patience:
    """What the executor makes of its Judicator's silence, and of one that cannot write."""

    def __init__(self, now: float) -> None:
        self._acked_at = now
        self._not_serving_since: float | None = None

    def connected(self, now: float) -> None:
        self._acked_at = now
        self._not_serving_since = None

    def acked(self, now: float) -> None:
        self._acked_at = now

    def orphaned(self, now: float) -> bool:
        """By now the attempts have been given to others."""
        return now - self._acked_at > ORPHAN_TTL_S

    def silent(self, now: float) -> bool:
        return now - self._acked_at > LINK_TIMEOUT_S

    def unserved(self, now: float, *, serving: bool) -> bool:
        """Told whether the Judicator can write: has it been unable to for too long?"""
        if serving:
            self._not_serving_since = None
            return False
        since = self._not_serving_since = self._not_serving_since or now
        return now - since > PULSE_TTL_S
