"""Which quotas a judicator goes by: its host's, and what is set in the cluster, which is looked at
again every second.

Submissions ask what is in memory. Where the cluster's word cannot be read, what was known holds; a
judicator that starts has read it before it accepts anything. Where quotas are on for the first time
their indexes are made before anybody counts in them: until then what was in force stays so.
"""

from __future__ import annotations

import asyncio

import structlog

from khala.model.errors import KhalaError
from khala.model.limits import QUOTAS_READ_S
from khala.model.quota import ClusterQuotas, Quota, Quotas, ToldQuotas, in_force
from khala.store.cluster_quotas import MongoClusterQuotas
from khala.store.quotas import MongoQuotas

log = structlog.get_logger()


class QuotasInForce:
    def __init__(self, hosts: ToldQuotas, store: MongoQuotas, cluster: MongoClusterQuotas) -> None:
        self._hosts = hosts
        self._store = store
        self.cluster = cluster
        self._known: ClusterQuotas | None = None
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

    async def refresh(self) -> None:
        """As it is now. Raise `KhalaError` where that cannot be known, or not be kept yet."""
        found = await self.cluster.load()
        if self._known is not None and found.revision == self._known.revision:
            return
        following = in_force(self._hosts, found.told)
        if following.on and not self._prepared:
            log.info("quotas.preparing", revision=found.revision)
            await self._store.prepare()
            self._prepared = True
        if following != self.now:
            log.info("quotas.in_force", revision=found.revision, on=following.on)
        self.now, self._known = following, found

    async def run(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(QUOTAS_READ_S)
            try:
                await self.refresh()
                failing = False
            except KhalaError as error:
                if not failing:
                    log.warning("quotas.unknown", revision=self.revision, why=error.message)
                failing = True
