"""Statements on tasks that are held (S12, S13, S25), and what finds them.

A hold is lifted condition by condition, each in one compare-and-set that also looks whether it was
the last one: the document itself decides, so several judicators may lift several conditions of one
task at once, or the same one twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from bson import Int64
from pymongo import ASCENDING

from khala.model.holds import HoldKey
from khala.model.ids import TaskId
from khala.model.outcome import Outcome
from khala.model.statements import ExpiredTask, HeldTask, Lift
from khala.model.task import Dispatch
from khala.store.client import change
from khala.store.codec import Database, Document, held_task_of, object_id, task_id
from khala.store.dates import to_ms, utc_now
from khala.store.endings import ending
from khala.store.failures import changing, reading
from khala.store.schema import DEPENDENT, TASKS

HELD = Dispatch.HELD.value

_NOT_BEGUN: Document = {
    "state": {"$in": [HELD, Dispatch.QUEUED.value]},
    "attempt": Int64(0),
}
#: Something is left of the hold.
_KEPT: Document = {
    "$or": [{"$ne": ["$hold.keys", []]}, {"$ne": [{"$type": "$hold.until"}, "missing"]}]
}
#: The second half of whatever takes something off a hold.
RELEASE_IF_LAST: Document = {
    "$set": {
        "state": {"$cond": [_KEPT, HELD, Dispatch.QUEUED.value]},
        "hold": {"$cond": [_KEPT, "$hold", "$$REMOVE"]},
    }
}


class MongoHolds:
    """`HoldStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks = database[TASKS]

    async def lift_if_held(self, items: Sequence[Lift]) -> None:
        """S12. Precondition: held by that condition; a date must have come. With the last
        condition the task is queued."""
        updates = [_lifting(item) for item in items]
        await change(self._database, {"update": TASKS, "updates": updates})

    async def hold_if_waiting(self, items: Sequence[Lift]) -> None:
        """S25. Precondition: held or queued, and not by that condition."""
        updates = [_holding(item) for item in items]
        await change(self._database, {"update": TASKS, "updates": updates})

    async def end_if_waiting(self, task: TaskId, outcome: Outcome) -> bool:
        """S13. Precondition: held or queued, and no attempt has begun. Whether it did end it."""
        with changing():
            result = await self._tasks.update_one(
                {"_id": object_id(task), **_NOT_BEGUN}, ending(outcome, None)
            )
        return result.matched_count == 1

    async def find_expired(self, limit: int) -> list[ExpiredTask]:
        """Tasks that have waited longer than they want to, the earliest first."""
        condition = {**_NOT_BEGUN, "expires_at": {"$lte": to_ms(utc_now())}}
        with reading():
            docs = (
                await self._tasks.find(condition, {"spec.queue_ttl_s": 1}, hint="expiring")
                .sort("expires_at", ASCENDING)
                .limit(limit)
                .to_list()
            )
        return [
            ExpiredTask(id=task_id(doc["_id"]), queue_ttl_s=doc["spec"]["queue_ttl_s"])
            for doc in docs
        ]

    async def find_due(self, limit: int) -> list[TaskId]:
        """Tasks whose date has come, the earliest first."""
        condition = {"state": HELD, "hold.until": {"$lte": to_ms(utc_now())}}
        with reading():
            docs = (
                await self._tasks.find(condition, {"_id": 1}, hint="due")
                .sort("hold.until", ASCENDING)
                .limit(limit)
                .to_list()
            )
        return [task_id(doc["_id"]) for doc in docs]

    async def find_held(self, key: HoldKey, limit: int) -> list[TaskId]:
        """Tasks held by that condition, by their ids, which grow with time."""
        condition = {"state": HELD, "hold.keys": key}
        with reading():
            docs = (
                await self._tasks.find(condition, {"_id": 1}, hint="holds")
                .sort("_id", ASCENDING)
                .limit(limit)
                .to_list()
            )
        return [task_id(doc["_id"]) for doc in docs]

    async def page_dependents(self, after: TaskId | None, limit: int) -> list[HeldTask]:
        """All that waits for other tasks, page by page: for sweeps that leave nothing to chance."""
        condition: Document = dict(DEPENDENT)
        if after is not None:
            condition["_id"] = {"$gt": object_id(after)}
        with reading():
            docs = (
                await self._tasks.find(condition, {"hold": 1}, hint="dependents")
                .sort("_id", ASCENDING)
                .limit(limit)
                .to_list()
            )
        return [held_task_of(doc) for doc in docs]


def _holding(item: Lift) -> Document:
    keys = {"$concatArrays": [{"$ifNull": ["$hold.keys", []]}, [{"$literal": item.key}]]}
    return {
        "q": {
            "_id": object_id(item.id),
            "state": _NOT_BEGUN["state"],
            "hold.keys": {"$ne": item.key},
        },
        "u": [{"$set": {"state": HELD, "hold.keys": keys, "updated_at": to_ms(utc_now())}}],
    }


def _lifting(item: Lift) -> Document:
    now = to_ms(utc_now())
    condition: Document = {"_id": object_id(item.id), "state": HELD}
    if item.key is None:
        condition["hold.until"] = {"$lte": now}
        less: Document = {"$unset": "hold.until"}
    else:
        condition["hold.keys"] = item.key
        others = {"$ne": ["$$this", {"$literal": item.key}]}
        less = {"$set": {"hold.keys": {"$filter": {"input": "$hold.keys", "cond": others}}}}
    return {"q": condition, "u": [less, RELEASE_IF_LAST, {"$set": {"updated_at": now}}]}
