"""What is set in the cluster, which every judicator looks at again every second.

Where it cannot be read, what was known holds; a judicator that starts has read it before it accepts
or removes anything. What is kept does not wait for quotas, whose indexes may take an hour to make.
"""

from __future__ import annotations

import asyncio

import structlog

from khala.model.cluster_settings import ClusterSettings
from khala.model.dates import utc_now
from khala.model.errors import KhalaError
from khala.model.limits import SETTINGS_READ_S
from khala.store.cluster_settings import MongoClusterSettings
from roles.judicator.keeping_in_force import KeepingInForce
from roles.judicator.quotas_in_force import QuotasInForce

log = structlog.get_logger()


class SettingsInForce:
    def __init__(
        self, cluster: MongoClusterSettings, quotas: QuotasInForce, keeping: KeepingInForce
    ) -> None:
        self.cluster = cluster
        self.quotas = quotas
        self.keeping = keeping
        self._found = ClusterSettings()
        self._looked = asyncio.Event()

    async def refresh(self) -> None:
        """Go by all that is set now. Raise `KhalaError` where that cannot be known, or not be kept
        yet."""
        await self._look()
        await self.quotas.follow(self._found)

    async def _look(self) -> None:
        read_at = utc_now()
        self._found = await self.cluster.load()
        self.keeping.follow(self._found.keeping, read_at)
        self._looked.set()

    async def keep_looking(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(SETTINGS_READ_S)
            try:
                await self._look()
                failing = False
            except KhalaError as error:
                if not failing:
                    log.warning("settings.unknown", why=error.message)
                failing = True

    async def keep_following(self) -> None:
        failing = False
        while True:
            await self._looked.wait()
            self._looked.clear()
            try:
                await self.quotas.follow(self._found)
                failing = False
            except KhalaError as error:
                if not failing:
                    log.warning("quotas.unprepared", why=error.message)
                failing = True
