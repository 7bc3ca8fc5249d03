"""S23: a task changed by a person.

The fence is the claim of the change before: each names the one that it follows, so of several that
were made to the same reading one lands, once, and what is late lands never. All fields are written,
also those that stay, because nothing else writes them. They may be in the way of anything else that
happens to a task and never are: a lease, a result or a lift neither reads nor writes them.
"""

from __future__ import annotations

from bson import Int64
from pymongo import ReturnDocument

from khala.model.holds import RELEASE
from khala.model.statements import PatchItem
from khala.model.task import Dispatch, Task
from khala.store.codec import Document, label_texts, object_id, task_of
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, settling
from khala.store.holds import RELEASE_IF_LAST
from khala.store.returns import TaskReturns

_WAITING: Document = {"$in": [Dispatch.QUEUED.value, Dispatch.HELD.value]}


class TaskPatches(TaskReturns):
    """A part of `MongoTasks`."""

    async def patch_if_next(self, item: PatchItem) -> Task | None:
        """S23. Precondition: the latest change is `after`; if `waits`, held or queued; if
        `updated_at`, nothing has changed since. The task as it is then; None: it has moved on."""
        condition: Document = {"_id": object_id(item.id), "patch": item.after}
        if item.waits:
            condition["state"] = _WAITING
        if item.updated_at is not None:
            condition["updated_at"] = item.updated_at
        with changing():
            doc = await self._tasks.find_one_and_update(
                condition, _patching(item), return_document=ReturnDocument.AFTER
            )
        if doc is None:
            ours = {"_id": object_id(item.id), "patch": item.claim}
            with settling():
                doc = await self._tasks.find_one(ours)
        return None if doc is None else task_of(doc)


def _patching(item: PatchItem) -> list[Document]:
    texts = label_texts(item.labels)
    keep_s = "$$REMOVE" if item.retention_s is None else Int64(item.retention_s)
    fields: Document = {
        "patch": item.claim,
        # Whoever compares dates must see each change.
        "updated_at": {"$max": [to_ms(utc_now()), {"$add": ["$updated_at", 1]}]},
        # What people write may look like an expression.
        "spec.name": {"$literal": item.name},
        "spec.labels": {"$literal": item.labels},
        "labels": {"$literal": texts} if texts else "$$REMOVE",
        "spec.priority": item.priority,
        "rank": to_ms(item.rank),
        "spec.retention_s": "$$REMOVE" if item.retention_s is None else item.retention_s,
        # The task of a job has none to change, and none beside its spec.
        "keep_s": {"$cond": [{"$ifNull": ["$job", False]}, "$$REMOVE", keep_s]},
    }
    if item.held is None:
        return [{"$set": fields}]
    others: Document = {
        "$filter": {
            "input": {"$ifNull": ["$hold.keys", []]},
            "cond": {"$ne": ["$$this", RELEASE]},
        }
    }
    fields["hold.keys"] = {"$concatArrays": [others, [RELEASE]]} if item.held else others
    return [{"$set": fields}, RELEASE_IF_LAST]
