"""What has ended, oldest first, with its bytes and whether somebody needs it; and its removal.

A job goes as one. Its document is removed first: from then on its members can neither be made anew
nor be answered as if they had yet to be, and those that a crash leaves behind are found by this
walk, which removes members whose job is gone.

Reads are hints, as everywhere. The removal of a task asks again whether it has ended, that of a job
whether it is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime

from bson import ObjectId
from msgspec.structs import replace
from pymongo import ASCENDING, DESCENDING

from khala.model.depends import keys_of
from khala.model.ids import JobId, TaskId
from khala.model.job import ids_of
from khala.model.retention import KEY_LIFE, Ended
from khala.model.task import Dispatch
from khala.store.client import change
from khala.store.codec import Database, Document, object_id, task_id
from khala.store.dates import utc_now
from khala.store.failures import reading, settling
from khala.store.forgetting import MongoForgetting
from khala.store.schema import JOBS, LIVE, OUTPUTS, PAYLOADS, TASKS

_DONE = Dispatch.DONE.value
#: Read by one look.
PAGE_TASKS = 500
PAGE_JOBS = 50
#: Members measured, or removed, by one statement.
PORTION = 500
#: What tasks themselves take up. Blobs are shared, and go a day after the last task naming them.
_COUNTED = (TASKS, JOBS, OUTPUTS, LIVE, PAYLOADS)


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
_SUM: Document = {
    "_id": None,
    "n": {"$sum": 1},
    "size": {"$sum": SIZE},
    "last": {"$max": "$_id"},
}
_TASK_FIELDS: Document = {
    "done_at": 1,
    "submitted_at": 1,
    "job": 1,
    "keyed": {"$ne": [{"$type": "$idem"}, "missing"]},
    "size": SIZE,
}


class MongoRetention:
    def __init__(self, database: Database, forgetting: MongoForgetting) -> None:
        self._database = database
        self._tasks = database[TASKS]
        self._jobs = database[JOBS]
        self._forgetting = forgetting

    # ---- how much there is ------------------------------------------------------------------

    async def stored_bytes(self) -> int:
        """Of tasks, jobs and what tasks left, as it was written; on disk it is compressed."""
        with reading():
            stats = [await self._database.command("collStats", name) for name in _COUNTED]
        return sum(int(each["size"]) for each in stats)

    async def date_of_newest(self, count: int) -> datetime | None:
        """When the last of so many newest ended; None if there are no more than these."""
        with reading():
            docs = (
                await self._tasks.find({"state": _DONE}, {"_id": 0, "done_at": 1}, hint="ended")
                .sort([("done_at", DESCENDING), ("_id", DESCENDING)])
                .skip(count - 1)
                .limit(2)
                .to_list()
            )
        return docs[0]["done_at"] if len(docs) == 2 else None

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

    async def _find_tasks(self, before: datetime) -> AsyncIterator[Ended]:
        behind: Document = {}
        while True:
            match = {"$and": [{"state": _DONE, "done_at": {"$lt": before}}, behind]}
            pipeline: list[Document] = [
                {"$match": match},
                {"$sort": {"done_at": ASCENDING, "_id": ASCENDING}},
                {"$limit": PAGE_TASKS},
                {"$project": _TASK_FIELDS},
            ]
            with reading():
                docs = await (await self._tasks.aggregate(pipeline, hint="ended")).to_list()
            needed = await self._awaited(doc["_id"] for doc in docs if "job" not in doc)
            gone = await self._without_job({doc["job"] for doc in docs if "job" in doc})
            for doc in docs:
                if "job" not in doc or doc["job"] in gone:
                    yield _ended(doc, needed=doc["_id"] in needed)
            if len(docs) < PAGE_TASKS:
                return
            behind = _behind(docs[-1])

    async def _find_jobs(self, before: datetime) -> AsyncIterator[Ended]:
        behind: Document = {}
        fields = {"done_at": 1, "submitted_at": 1, "idem": 1}
        while True:
            match = {"$and": [{"open": False, "done_at": {"$lt": before}}, behind]}
            with reading():
                docs = (
                    await self._jobs.find(match, fields, hint="ended")
                    .sort([("done_at", ASCENDING), ("_id", ASCENDING)])
                    .limit(PAGE_JOBS)
                    .to_list()
                )
            for doc in docs:
                keyed = {**doc, "keyed": "idem" in doc}
                yield replace(_ended(keyed, needed=await self._is_awaited(doc["_id"])), job=True)
            if len(docs) < PAGE_JOBS:
                return
            behind = _behind(docs[-1])

    async def measure(self, job: Ended) -> Ended:
        """The same job, with its members. What has a later id than they is not looked at."""
        count, size, last = 0, 0, ObjectId(job.id)
        end = object_id(ids_of(JobId(job.id))[1])
        while True:
            portion = {"job": ObjectId(job.id), "_id": {"$gt": last, "$lte": end}}
            pipeline: list[Document] = [
                {"$match": portion},
                {"$sort": {"_id": ASCENDING}},
                {"$limit": PORTION},
                {"$group": _SUM},
            ]
            with reading():
                found = await (await self._tasks.aggregate(pipeline, hint="_id_")).to_list()
            if not found:
                return replace(job, tasks=count, size_bytes=size)
            count, size = count + int(found[0]["n"]), size + int(found[0]["size"])
            if found[0]["n"] < PORTION:
                return replace(job, tasks=count, size_bytes=size)
            last = found[0]["last"]

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

    # ---- removing -----------------------------------------------------------------------------

    async def forget(self, gone: Sequence[Ended]) -> None:
        """Remove those that have ended still, with all they left. Repeatable."""
        for each in gone:
            if each.job:
                await self._forget_job(JobId(each.id))
        tasks = [each.id for each in gone if not each.job]
        kept = await self._forgetting.forget_if_done(tasks)
        if kept:
            await self._forget_strays(kept)

    async def _forget_job(self, job: JobId) -> None:
        """S20. Precondition: closed."""
        delete: Document = {"q": {"_id": ObjectId(job), "open": False}, "limit": 1}
        await change(self._database, {"delete": JOBS, "deletes": [delete]})
        with settling():
            if await self._jobs.find_one({"_id": ObjectId(job)}, {"_id": 1}) is not None:
                return
        await self._forget_members(ObjectId(job))

    async def _forget_strays(self, kept: Sequence[TaskId]) -> None:
        """Members whose job is gone: `forget_if_done` leaves members alone."""
        ids = [object_id(each) for each in kept]
        with settling():
            docs = await self._tasks.find({"_id": {"$in": ids}}, {"job": 1}).to_list()
        for job in await self._without_job({doc["job"] for doc in docs if "job" in doc}):
            await self._forget_members(job)

    async def _forget_members(self, job: ObjectId) -> None:
        """Precondition: the job's document is gone."""
        while True:
            with settling():
                docs = (
                    await self._tasks.find({"job": job, "state": _DONE}, {"_id": 1}, hint="members")
                    .limit(PORTION)
                    .to_list()
                )
            if not docs:
                return
            await self._forgetting.remove_done([doc["_id"] for doc in docs])


def _ended(doc: Document, *, needed: bool) -> Ended:
    fresh = doc["keyed"] and doc["submitted_at"] > utc_now() - KEY_LIFE
    return Ended(
        id=task_id(doc["_id"]),
        ended_at=doc["done_at"],
        size_bytes=int(doc.get("size", 0)),
        needed=needed or bool(fresh),
    )


def _behind(doc: Document) -> Document:
    """What comes after it in the order of ends; the first line bounds the scan of the index."""
    at = doc["done_at"]
    beyond = [{"done_at": {"$gt": at}}, {"_id": {"$gt": doc["_id"]}}]
    return {"done_at": {"$gte": at}, "$or": beyond}
