"""What is set in the cluster of quotas: one document beside those of the schema and the leader, so
that an older Khala can be started on it, and a backup has it."""

from __future__ import annotations

import msgspec
from bson import Int64

from khala.model.errors import Changed, Rejected
from khala.model.limits import QUOTA_USERS
from khala.model.quota import ClusterQuotas, ToldQuotas
from khala.store.client import change
from khala.store.codec import Database
from khala.store.failures import DUPLICATE_KEY, item_failure, reading
from khala.store.schema import META

_ID = "quotas"


class MongoClusterQuotas:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._meta = database[META]

    async def load(self) -> ClusterQuotas:
        with reading():
            document = await self._meta.find_one({"_id": _ID})
        if document is None:
            return ClusterQuotas()
        told = msgspec.convert(document["told"], ToldQuotas, strict=False)
        return ClusterQuotas(revision=int(document["revision"]), told=told)

    async def replace_if_revision(self, revision: int, told: ToldQuotas) -> ClusterQuotas:
        """Precondition: what stands has this number; 0 where nothing does. Raise `Changed`, and
        `Rejected` if too many users have their own."""
        if len(told.users) > QUOTA_USERS:
            raise Rejected(
                f"quotas of their own can be set for {QUOTA_USERS} users, these are"
                f" {len(told.users)}; remove some, or set that of everybody",
                field="/quotas/users",
            )
        following = ClusterQuotas(revision=revision + 1, told=told)
        said = {
            "revision": Int64(following.revision),
            "told": msgspec.to_builtins(told, str_keys=True),
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
            raise Changed("the quotas of the cluster have changed meanwhile; read them again")
        return following
