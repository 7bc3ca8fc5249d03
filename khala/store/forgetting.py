"""Removing tasks that have ended (S18), with everything they left.

The document goes first: from then on nobody can ask for the rest, and a process that dies before
the rest is gone leaves chunks that no task names, which the sweep of orphans finds. A blob is not
touched: it goes when no task has named it for a day.
"""

from __future__ import annotations

from collections.abc import Sequence

from bson import ObjectId

from khala.model.ids import TaskId
from khala.model.task import Dispatch
from khala.store.chunks import Chunks
from khala.store.client import change
from khala.store.codec import Database, Document, object_id, task_id
from khala.store.failures import settling
from khala.store.schema import LIVE, OUTPUTS, PAYLOADS, TASKS


class MongoForgetting:
    """`ForgettingStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left = [Chunks(database, name, "t") for name in (PAYLOADS, OUTPUTS, LIVE)]

    async def forget_if_done(
        self, tasks: Sequence[TaskId], keep_s: int | None = None
    ) -> list[TaskId]:
        """S18. Precondition: done, and no member of a job, whose document would make it anew; if
        `keep_s`, that is the retention that it has. Return those that are still there."""
        ids = [object_id(task) for task in tasks]
        done: Document = {"state": Dispatch.DONE.value, "job": {"$exists": False}}
        if keep_s is not None:
            done["keep_s"] = keep_s
        deletes: list[Document] = [{"q": {"_id": {"$in": ids}, **done}, "limit": 0}]
        reply = await change(self._database, {"delete": TASKS, "deletes": deletes})
        kept: list[TaskId] = []
        if reply["n"] != len(ids):
            with settling():
                docs = await self._database[TASKS].find({"_id": {"$in": ids}}, {"_id": 1}).to_list()
            kept = [task_id(doc["_id"]) for doc in docs]
        await self._remove_left([each for each in ids if task_id(each) not in kept])
        return kept

    async def remove_done(self, members: list[ObjectId]) -> None:
        """S19. Precondition: done. Of a job whose document is gone."""
        done: Document = {"q": {"_id": {"$in": members}, "state": Dispatch.DONE.value}, "limit": 0}
        await change(self._database, {"delete": TASKS, "deletes": [done]})
        await self._remove_left(members)

    async def _remove_left(self, tasks: list[ObjectId]) -> None:
        for chunks in self._left:
            await chunks.remove_of(tasks)
