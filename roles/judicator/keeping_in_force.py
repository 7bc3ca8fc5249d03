"""What a judicator keeps: by its host's word, and by what is set in the cluster."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from khala.model.dates import utc_now
from khala.model.keeping import EVERYTHING, ClusterKeeping, Keeping, keeping_in_force
from khala.model.retention import Retention

log = structlog.get_logger()

#: For so long a word that was read is one to remove something by; it is read every second.
KNOWN = timedelta(seconds=10)


class KeepingInForce:
    """Until the cluster's word was read for the first time everything is kept: it may be more than
    the host's. So it is where that word was not read for a while, as when the process stood still:
    it may be more by now. A notice ends when the word was read after its end, and not by the clock
    alone, since somebody may have taken it back while it could not be read."""

    def __init__(self, hosts: Keeping) -> None:
        self.of_host = hosts
        self.now = EVERYTHING
        self._read_at: datetime | None = None

    def follow(self, cluster: ClusterKeeping, now: datetime) -> None:
        """What is set, as it was read at that moment."""
        following = keeping_in_force(self.of_host, cluster, now)
        if following != self.now:
            log.info(
                "keeping.in_force",
                tasks=str(following.retention),
                audit_s=following.audit_s,
                backups_kept=following.backups_kept,
            )
        self.now, self._read_at = following, now

    # ---- asked by what keeps, each time ------------------------------------------------------

    def retention(self) -> Retention:
        return self._certain().retention

    def audit_life(self) -> timedelta:
        """By what is known: an entry is given its life once."""
        return timedelta(seconds=self.now.audit_s)

    def backups_kept(self) -> int:
        return self._certain().backups_kept

    def _certain(self) -> Keeping:
        """Where the clock was changed nobody knows how old a word is."""
        known = self._read_at is not None and abs(utc_now() - self._read_at) <= KNOWN
        return self.now if known else EVERYTHING
