"""Statements that end an attempt and not its task: S8 without a result, S21 with one.

Both leave a line in `past`, the task's memory of its attempts. A result that is tried again is
never the task's, so `retried` is a second fence beside the attempt, which only a lease increments:
until then the number still stands, and every statement that would take its result or its run (S4,
S7, S21 itself) leaves an attempt alone that has been retried.
"""

from __future__ import annotations

from bson import Int64

from khala.model.attempts import PastAttempt
from khala.model.limits import CRASH_LIMIT, PAST_ATTEMPTS
from khala.model.statements import RequeueItem, RequeueResult, RetryItem, lost_repeatedly
from khala.model.task import Dispatch
from khala.store.codec import Document, object_id, past_doc
from khala.store.dates import to_ms, utc_now
from khala.store.endings import ending
from khala.store.failures import changing, reading, settling
from khala.store.task_reads import TaskReads

_QUEUED, _HELD, _LEASED = (each.value for each in (Dispatch.QUEUED, Dispatch.HELD, Dispatch.LEASED))


class TaskReturns(TaskReads):
    """A part of `MongoTasks`."""

    async def requeue_if_leased_by(self, item: RequeueItem) -> RequeueResult:
        """S8. Precondition: leased under this attempt by this session of this executor. The crash
        that reaches the task's `max_crashes` ends it instead."""
        held: Document = {
            "_id": object_id(item.id),
            "state": _LEASED,
            "attempt": Int64(item.attempt),
            "lease.executor": item.executor,
            "lease.session": Int64(item.session),
        }
        now = to_ms(utc_now())
        requeue: list[Document] = [
            {"$set": {"state": _QUEUED, "updated_at": now, "past": _remembering(item.past(now))}},
            {"$unset": ["lease", "progress", "started_at"]},
        ]
        if not item.crash:
            return await self._requeue(held, requeue, RequeueResult.REQUEUED)
        with reading():
            doc = await self._tasks.find_one(held, {"crashes": 1, "spec.max_crashes": 1})
        if doc is None:
            return RequeueResult.STALE
        # It cannot change while the lease stands.
        crashes = int(doc["crashes"]) + 1
        if crashes >= doc["spec"].get("max_crashes", CRASH_LIMIT):
            end = ending(lost_repeatedly(crashes), None)
            end["$set"]["crashes"] = crashes
            return await self._requeue(held, end, RequeueResult.ENDED)
        requeue[0]["$set"]["crashes"] = crashes
        return await self._requeue(held, requeue, RequeueResult.REQUEUED)

    async def _requeue(
        self, condition: Document, update: Document | list[Document], answer: RequeueResult
    ) -> RequeueResult:
        with changing():
            result = await self._tasks.update_one(condition, update)
        return answer if result.matched_count == 1 else RequeueResult.STALE

    async def retry_if_attempt(self, item: RetryItem) -> bool:
        """S21. Precondition: `attempt` is the item's, the task is not done, and that attempt was
        not retried yet. True also if an earlier try of this statement did it."""
        standing: Document = {
            "_id": object_id(item.id),
            "attempt": Int64(item.attempt),
            "retried": {"$ne": Int64(item.attempt)},
            "state": {"$in": [_QUEUED, _HELD, _LEASED]},
        }
        fields: Document = {
            # A person may hold it since it was taken back from an executor that was not lost.
            "state": {"$cond": [{"$eq": ["$state", _HELD]}, _HELD, _QUEUED]},
            "updated_at": item.at,
            "retried": Int64(item.attempt),
            "retries": {"$add": [{"$ifNull": ["$retries", 0]}, 1]},
            "past": _remembering(item.past),
        }
        if item.until is not None:
            keys = {"$ifNull": ["$hold.keys", []]}
            fields |= {"state": _HELD, "hold": {"keys": keys, "until": to_ms(item.until)}}
        update: list[Document] = [{"$set": fields}, {"$unset": ["lease", "progress", "started_at"]}]
        with changing():
            result = await self._tasks.update_one(standing, update)
        if result.matched_count == 1:
            return True
        with settling():
            doc = await self._tasks.find_one({"_id": object_id(item.id)}, {"retried": 1})
        return doc is not None and doc.get("retried") == item.attempt


def _remembering(attempt: PastAttempt) -> Document:
    """What is remembered with one more, which replaces what was known of it before (a late result
    of an attempt that was believed to be lost)."""
    others = {
        "$filter": {
            "input": {"$ifNull": ["$past", []]},
            "cond": {"$ne": ["$$this.attempt", Int64(attempt.attempt)]},
        }
    }
    # What programs and executors say may look like an expression.
    one = {"$mergeObjects": [{"$literal": past_doc(attempt)}, {"started_at": "$started_at"}]}
    return {"$slice": [{"$concatArrays": [others, [one]]}, -PAST_ATTEMPTS]}
