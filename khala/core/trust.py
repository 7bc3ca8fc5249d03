"""How long a leader may believe that it leads.

The lease in etcd expires on etcd's clock, counted from when etcd received a renewal. The leader
counts from when it SENT the last renewal that succeeded, which is earlier, and leaves a margin;
so it stops before anybody else can start, as long as clocks tick at about the same rate. Even if
they do not, chores are compare-and-set and only waste work.
"""

from __future__ import annotations

from dataclasses import dataclass

from khala.model.limits import LEADER_TTL_S

MARGIN_S = 0.5


@dataclass(slots=True)
class Trust:
    """Monotonic seconds throughout."""

    ttl_s: float = LEADER_TTL_S
    _sent_at: float | None = None

    def renewed(self, sent_at: float) -> None:
        """A grant or renewal sent at `sent_at` has succeeded."""
        if self._sent_at is None or sent_at > self._sent_at:
            self._sent_at = sent_at

    def lost(self) -> None:
        self._sent_at = None

    def holds(self, now: float) -> bool:
        return self._sent_at is not None and now < self._sent_at + self.ttl_s - MARGIN_S
