"""Which quotas a judicator goes by: its host's, and what is set in the cluster.

Submissions ask what is in memory. Where quotas are on for the first time their indexes are made
before anybody counts in them: until then what was in force stays so.
"""

from __future__ import annotations

import structlog

from khala.model.cluster_settings import ClusterSettings
from khala.model.quota import Quota, Quotas, ToldQuotas, in_force
from khala.store.quotas import MongoQuotas

log = structlog.get_logger()


class QuotasInForce:
    def __init__(self, hosts: ToldQuotas, store: MongoQuotas) -> None:
        self._hosts = hosts
        self._store = store
        self._known: ClusterSettings | None = None
        self._prepared = False
        self.now = in_force(hosts)

    @property
    def of_host(self) -> Quotas:
        return in_force(self._hosts)

    @property
    def revision(self) -> int:
        """Of the cluster's word that is in force; 0: there is none."""
        return self._known.revision if self._known else 0

    def of(self, user: int) -> Quota:
        return self.now.of(user)

    async def follow(self, found: ClusterSettings) -> None:
        """Go by what is set. Raise `KhalaError` where that cannot be kept yet."""
        if self._known is not None and found.revision == self._known.revision:
            return
        following = in_force(self._hosts, found.quotas)
        if following.on and not self._prepared:
            log.info("quotas.preparing", revision=found.revision)
            await self._store.prepare()
            self._prepared = True
        if following != self.now:
            log.info("quotas.in_force", revision=found.revision, on=following.on)
        self.now, self._known = following, found
