"""What has ended, oldest first, with its bytes and whether somebody needs it.

Two orders: that of all ends, for what an operator says, and for what tasks and jobs say themselves
one for each length. Nothing is written for the second at an end: how long a task is kept stands in
its document from the beginning, and the index `kept` has it beside the date of the end. The oldest
end of each length tells whether anything of it is due, and costs one step of the index.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta

from bson import ObjectId
from msgspec.structs import replace
from pymongo import ASCENDING

from khala.model.depends import keys_of
from khala.model.ids import JobId
from khala.model.job import ids_of
from khala.model.retention import KEPT_S, KEY_LIFE, OWN_KEY_LIFE, Ended
from khala.model.task import Dispatch
from khala.store.codec import Collection, Database, Document, task_id
from khala.store.dates import utc_now
from khala.store.failures import reading
from khala.store.schema import JOBS, TASKS

_DONE = Dispatch.DONE.value
#: Read by one look.
PAGE_TASKS = 500
PAGE_JOBS = 50
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def _apart(ref: str) -> Document:
    """The size of an output that is stored beside the document."""
    inline = {"$ne": [{"$type": f"{ref}.inline"}, "missing"]}
    return {"$cond": [inline, 0, {"$ifNull": [f"{ref}.size_bytes", 0]}]}


_STREAMS = {"$objectToArray": {"$ifNull": ["$outcome.streams", {}]}}
SIZE: Document = {
    "$add": [
        {"$bsonSize": "$$ROOT"},
        {"$sum": {"$map": {"input": _STREAMS, "in": _apart("$$this.v")}}},
        _apart("$outcome.case_outputs"),
        {"$sum": "$outcome.artifacts.files.size_bytes"},
    ]
}
_TASK_FIELDS: Document = {
    "done_at": 1,
    "submitted_at": 1,
    "job": 1,
    "keep_s": 1,
    "keyed": {"$ne": [{"$type": "$idem"}, "missing"]},
    "size": SIZE,
}


class EndedReads:
    """A part of `MongoRetention`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks = database[TASKS]
        self._jobs = database[JOBS]

    # ---- what has ended, oldest first ---------------------------------------------------------

    async def find_ended(self, before: datetime) -> AsyncIterator[Ended]:
        """Tasks of their own and closed jobs, merged by when they ended."""
        tasks, jobs = self._find_tasks(before), self._find_jobs(before)
        task, job = await anext(tasks, None), await anext(jobs, None)
        while task is not None or job is not None:
            if task is not None and (job is None or task.ended_at <= job.ended_at):
                yield task
                task = await anext(tasks, None)
            elif job is not None:
                yield job
                job = await anext(jobs, None)

    async def find_due(self, now: datetime) -> AsyncIterator[Ended]:
        """What has been kept as long as it says itself: tasks of their own and closed jobs, those
        of one length oldest first."""
        for keep_s in await self._lengths_due(self._tasks, now):
            async for each in self._find_tasks(now - timedelta(seconds=keep_s), keep_s):
                yield each
        for keep_s in await self._lengths_due(self._jobs, now):
            least_s = max(keep_s, KEPT_S)
            async for each in self._find_jobs(now - timedelta(seconds=least_s), keep_s):
                yield each

    async def _lengths_due(self, ended: Collection, now: datetime) -> list[int]:
        """Those of which the oldest is due: a step of the index for each length there is."""
        pipeline: list[Document] = [
            {"$match": {"keep_s": {"$gt": 0}, "done_at": {"$gt": _EVER}}},
            {"$sort": {"keep_s": ASCENDING, "done_at": ASCENDING}},
            {"$group": {"_id": "$keep_s", "oldest": {"$first": "$done_at"}}},
        ]
        with reading():
            docs = await (await ended.aggregate(pipeline, hint="kept")).to_list()
        lengths = {int(doc["_id"]): doc["oldest"] for doc in docs}
        return sorted(
            keep_s for keep_s, oldest in lengths.items() if oldest + timedelta(seconds=keep_s) < now
        )

    async def _find_tasks(
        self, before: datetime, keep_s: int | None = None
    ) -> AsyncIterator[Ended]:
        condition = {"state": _DONE, **_kept(keep_s)}
        behind: Document = {}
        while True:
            match = {"$and": [{**condition, "done_at": {"$lt": before}}, behind]}
            pipeline: list[Document] = [
                {"$match": match},
                {"$sort": {"done_at": ASCENDING, "_id": ASCENDING}},
                {"$limit": PAGE_TASKS},
                {"$project": _TASK_FIELDS},
            ]
            with reading():
                docs = await (await self._tasks.aggregate(pipeline, hint=_hint(keep_s))).to_list()
            needed = await self._awaited(doc["_id"] for doc in docs if "job" not in doc)
            gone = await self._without_job({doc["job"] for doc in docs if "job" in doc})
            for doc in docs:
                if "job" not in doc or doc["job"] in gone:
                    life = KEY_LIFE if keep_s is None else OWN_KEY_LIFE
                    yield _ended(doc, life, needed=doc["_id"] in needed)
            if len(docs) < PAGE_TASKS:
                return
            behind = _behind(docs[-1])

    async def _find_jobs(self, before: datetime, keep_s: int | None = None) -> AsyncIterator[Ended]:
        condition = {"open": False, **_kept(keep_s)}
        behind: Document = {}
        fields = {"done_at": 1, "submitted_at": 1, "idem": 1, "keep_s": 1}
        while True:
            match = {"$and": [{**condition, "done_at": {"$lt": before}}, behind]}
            with reading():
                docs = (
                    await self._jobs.find(match, fields, hint=_hint(keep_s))
                    .sort([("done_at", ASCENDING), ("_id", ASCENDING)])
                    .limit(PAGE_JOBS)
                    .to_list()
                )
            for doc in docs:
                keyed = {**doc, "keyed": "idem" in doc}
                life = KEY_LIFE if keep_s is None else OWN_KEY_LIFE
                needed = await self._is_awaited(doc["_id"])
                yield replace(_ended(keyed, life, needed=needed), job=True)
            if len(docs) < PAGE_JOBS:
                return
            behind = _behind(docs[-1])

    async def _awaited(self, tasks: Iterable[ObjectId]) -> set[ObjectId]:
        """Those for whose end some task is held."""
        keys = {key: each for each in tasks for key in keys_of(task_id(each))}
        held = {"state": Dispatch.HELD.value, "hold.keys": {"$in": list(keys)}}
        with reading():
            docs = await self._tasks.find(held, {"hold.keys": 1}, hint="holds").to_list()
        return {keys[key] for doc in docs for key in doc["hold"]["keys"] if key in keys}

    async def _is_awaited(self, job: ObjectId) -> bool:
        """It, or one of its members."""
        for first, last in zip(*map(keys_of, ids_of(JobId(str(job)))), strict=True):
            held = {
                "state": Dispatch.HELD.value,
                "hold.keys": {"$elemMatch": {"$gte": first, "$lte": last}},
            }
            with reading():
                if await self._tasks.find_one(held, {"_id": 1}, hint="holds") is not None:
                    return True
        return False

    async def _without_job(self, jobs: set[ObjectId]) -> set[ObjectId]:
        """Those that do not exist: their removal was cut off."""
        if not jobs:
            return set()
        with reading():
            docs = await self._jobs.find({"_id": {"$in": list(jobs)}}, {"_id": 1}).to_list()
        return jobs - {doc["_id"] for doc in docs}


def _ended(doc: Document, key_life: timedelta, *, needed: bool) -> Ended:
    fresh = doc["keyed"] and doc["submitted_at"] > utc_now() - key_life
    return Ended(
        id=task_id(doc["_id"]),
        ended_at=doc["done_at"],
        keep_s=None if doc.get("keep_s") is None else int(doc["keep_s"]),
        size_bytes=int(doc.get("size", 0)),
        needed=needed or bool(fresh),
    )


def _behind(doc: Document) -> Document:
    """What comes after it in the order of ends; the first line bounds the scan of the index."""
    at = doc["done_at"]
    beyond = [{"done_at": {"$gt": at}}, {"_id": {"$gt": doc["_id"]}}]
    return {"done_at": {"$gte": at}, "$or": beyond}


def _kept(keep_s: int | None) -> Document:
    return {} if keep_s is None else {"keep_s": keep_s}


def _hint(keep_s: int | None) -> str:
    return "ended" if keep_s is None else "kept"
