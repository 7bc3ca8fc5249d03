"""Reads of tasks. They feed people and hints; a decision is always a statement's filter.

All read what a majority has, from the primary, so that whoever was told "accepted" or "done" never
sees an older state. Lists leave payloads and outputs in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from khala.model.errors import NotFound
from khala.model.ids import TaskId
from khala.model.limits import EARLY_S, LIST_LIMIT_MAX
from khala.model.statements import Candidate, Counts
from khala.model.task import Dispatch, Task, TaskBrief
from khala.protocol.rpc import ListTasks, SearchTasks, SortKey, TaskPage, TaskRows
from khala.store.codec import (
    BRIEF_FIELDS,
    CANDIDATE_FIELDS,
    Collection,
    Document,
    brief_of_doc,
    candidate_of,
    object_id,
    task_of,
)
from khala.store.dates import to_ms, utc_now
from khala.store.failures import reading
from khala.store.listing import EVERYTHING, list_by_date
from khala.store.priorities import list_by_priority
from khala.store.schema import ORDER_KEY


class TaskReads:
    """The reading half of `MongoTasks`."""

    def __init__(self, tasks: Collection) -> None:
        self._tasks = tasks

    async def get(self, task: TaskId) -> Task:
        """The whole task with what is inline; raise `NotFound`."""
        return task_of(await self._one(task, None))

    async def search(self, query: SearchTasks) -> TaskPage:
        """Newest first unless asked otherwise. `total` counts all that match, exactly: an index
        scan of about 0.4 s per million tasks."""
        condition = _condition(query)
        direction = 1 if query.oldest_first else -1
        with reading():
            total = await self._tasks.count_documents(condition or EVERYTHING)
            docs = (
                await self._tasks.find(condition, BRIEF_FIELDS)
                .sort([("submitted_at", direction), ("_id", direction)])
                .skip(query.offset)
                .limit(min(query.limit or LIST_LIMIT_MAX, LIST_LIMIT_MAX))
                .to_list()
            )
        return TaskPage(total=total, tasks=[brief_of_doc(doc) for doc in docs])

    async def counts(self) -> Counts:
        with reading():
            queued = await self._tasks.count_documents({"state": "queued"}, hint="order")
            held = await self._tasks.count_documents({"state": "held"}, hint="held")
            leased = await self._tasks.count_documents({"state": "leased"}, hint="leases")
        return Counts(queued=queued, held=held, leased=leased)

    async def oldest_queued(self) -> datetime | None:
        """When the task was submitted that has waited longest of those that are next for their
        shape; one step in the index per shape."""
        pipeline: list[Document] = [
            {"$match": {"state": Dispatch.QUEUED.value}},
            {"$sort": dict(ORDER_KEY)},
            {"$group": {"_id": "$shape", "first": {"$first": "$submitted_at"}}},
        ]
        with reading():
            cursor = await self._tasks.aggregate(pipeline, hint="order")
            firsts = [doc["first"] for doc in await cursor.to_list()]
        return min(firsts, default=None)

    async def list_tasks(self, query: ListTasks) -> TaskRows:
        """A page by its place in the order, not by its number: as fast for the last page as for
        the first, and nothing is shown twice because something was submitted meanwhile."""
        by = list_by_priority if query.sort is SortKey.PRIORITY else list_by_date
        return await by(self._tasks, query)

    async def load_briefs(self, tasks: Sequence[TaskId]) -> list[TaskBrief]:
        """In no particular order; ids that do not exist are left out."""
        ids = [object_id(task) for task in tasks]
        with reading():
            docs = await self._tasks.find({"_id": {"$in": ids}}, BRIEF_FIELDS).to_list()
        return [brief_of_doc(doc) for doc in docs]

    async def find_queued(self, shape: str, limit: int, older_than_s: float) -> list[Candidate]:
        """Of the tasks of this shape those that are next, but none submitted less than
        `older_than_s` ago, unless its date is wrong."""
        now = utc_now()
        before = to_ms(now - timedelta(seconds=older_than_s))
        early = to_ms(now + timedelta(seconds=EARLY_S))
        condition = {
            "state": Dispatch.QUEUED.value,
            # Stored only where there is one, so that most documents do without.
            "shape": shape or None,
            "$or": [{"submitted_at": {"$lte": before}}, {"submitted_at": {"$gt": early}}],
        }
        with reading():
            docs = (
                await self._tasks.find(condition, CANDIDATE_FIELDS, hint="order")
                .sort(ORDER_KEY[2:])
                .limit(limit)
                .to_list()
            )
        return [candidate_of(doc) for doc in docs]

    async def find_shapes(self, after: str, limit: int) -> list[Candidate]:
        """The next task of each shape, by shape, from the one behind `after` on; one step in the
        index per shape."""
        pipeline: list[Document] = [
            {"$match": {"state": Dispatch.QUEUED.value, "shape": {"$gt": after}}},
            {"$sort": dict(ORDER_KEY)},
            {"$group": {"_id": "$shape", "first": {"$first": "$_id"}}},
            {"$sort": {"_id": 1}},
            {"$limit": limit},
        ]
        with reading():
            cursor = await self._tasks.aggregate(pipeline, hint="order")
            ids = [doc["first"] for doc in await cursor.to_list()]
            if not ids:
                return []
            docs = await self._tasks.find({"_id": {"$in": ids}}, CANDIDATE_FIELDS).to_list()
        return sorted(map(candidate_of, docs), key=lambda task: task.spec.shape)

    async def _one(self, task: TaskId, fields: Document | None) -> Document:
        with reading():
            doc = await self._tasks.find_one({"_id": object_id(task)}, fields)
        if doc is None:
            raise NotFound(f"task {task} does not exist")
        return doc


def _condition(query: SearchTasks) -> Document:
    condition: Document = {}
    if query.id is not None:
        condition["_id"] = object_id(query.id)
    if query.user is not None:
        condition["user"] = query.user
    submitted: Document = {}
    if query.start is not None:
        submitted["$gte"] = query.start
    if query.end is not None:
        submitted["$lte"] = query.end
    if submitted:
        condition["submitted_at"] = submitted
    return condition
