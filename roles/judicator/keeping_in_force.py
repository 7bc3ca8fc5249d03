"""What a judicator keeps: by its host's word, and by what is set in the cluster."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from khala.model.keeping import EVERYTHING, ClusterKeeping, Keeping, keeping_in_force
from khala.model.retention import Retention

log = structlog.get_logger()


class KeepingInForce:
    """Until the cluster's word was read for the first time everything is kept: it may be more than
    the host's. A notice ends when that word was read after its end, and not by the clock alone,
    since somebody may have taken it back while it could not be read."""

    def __init__(self, hosts: Keeping) -> None:
        self.of_host = hosts
        self.now = EVERYTHING

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
        self.now = following

    # ---- asked by what keeps, each time ------------------------------------------------------

    def retention(self) -> Retention:
        return self.now.retention

    def audit_life(self) -> timedelta:
        return timedelta(seconds=self.now.audit_s)

    def backups_kept(self) -> int:
        return self.now.backups_kept
