"""What is set in the cluster: one document beside those of the schema and the leader, so that an
older Khala can be started on it, and a backup has it.

The fields of quotas are as they were before anything else could be set: whoever knows those alone
replaces them and leaves the rest.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from bson import Int64

from khala.model.cluster_settings import ClusterSettings
from khala.model.dates import utc_now
from khala.model.errors import Changed, Rejected
from khala.model.keeping import ClusterKeeping, ToldKeeping, replaced
from khala.model.limits import QUOTA_USERS
from khala.model.quota import ToldQuotas
from khala.store.client import change
from khala.store.codec import Database
from khala.store.failures import DUPLICATE_KEY, item_failure, reading
from khala.store.schema import META

_ID = "quotas"


class MongoClusterSettings:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._meta = database[META]

    async def load(self) -> ClusterSettings:
        with reading():
            document = await self._meta.find_one({"_id": _ID})
        if document is None:
            return ClusterSettings()
        return ClusterSettings(
            revision=int(document["revision"]),
            quotas=msgspec.convert(document["told"], ToldQuotas, strict=False),
            keeping=msgspec.convert(document.get("keeping", {}), ClusterKeeping, strict=False),
        )

    async def replace_if_revision(
        self, revision: int, quotas: ToldQuotas, keeping: ToldKeeping
    ) -> ClusterSettings:
        """Precondition: what stands has this number; 0 where nothing does. Raise `Changed`,
        `Rejected` if too many users have their own quotas, and `NotPossible` if what is kept has
        been changed too often. Which earlier words still bind is nobody's to say but this one's."""
        if len(quotas.users) > QUOTA_USERS:
            raise Rejected(
                f"quotas of their own can be set for {QUOTA_USERS} users, these are"
                f" {len(quotas.users)}; remove some, or set that of everybody",
                field="/quotas/users",
            )
        known = await self.load()
        if known.revision != revision:
            raise _changed()
        following = ClusterSettings(
            revision=revision + 1,
            quotas=quotas,
            keeping=replaced(known.keeping, keeping, utc_now()),
        )
        said = {
            "revision": Int64(following.revision),
            "told": msgspec.to_builtins(quotas, str_keys=True),
            "keeping": msgspec.to_builtins(following.keeping, builtin_types=(datetime,)),
        }
        # Two first ones at once: the second one is refused by its id.
        update = {
            "q": {"_id": _ID, "revision": Int64(revision)},
            "u": {"$set": said},
            "upsert": revision == 0,
        }
        reply = await change(self._database, {"update": META, "updates": [update]})
        for error in reply.get("writeErrors", ()):
            if error["code"] != DUPLICATE_KEY:
                raise item_failure(error["code"], error["errmsg"])
        if reply["n"] != 1:
            raise _changed()
        return following


def _changed() -> Changed:
    return Changed("what is set in the cluster has changed meanwhile; read it again")
