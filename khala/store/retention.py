"""The removal of what has ended.

A job goes as one. Its document is removed first: from then on its members can neither be made anew
nor be answered as if they had yet to be. That it is going is noted before, so those that a crash
leaves behind go in the next round; the walk of all ends finds members whose job is gone as well.

Reads are hints, as everywhere. The removal of a task asks again whether it has ended, that of a job
whether it is closed, and that of what goes by its own word whether it still says so: a person may
change that at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bson import ObjectId
from msgspec.structs import replace
from pymongo import ASCENDING, DESCENDING

from khala.model.ids import JobId, TaskId
from khala.model.job import ids_of
from khala.model.retention import Ended
from khala.model.task import Dispatch
from khala.store.client import change
from khala.store.codec import Database, Document, object_id
from khala.store.dates import to_ms, utc_now
from khala.store.ended import PAGE_JOBS, SIZE, EndedReads
from khala.store.failures import reading, settling
from khala.store.forgetting import MongoForgetting
from khala.store.schema import JOBS, LEAVING, LIVE, OUTPUTS, PAYLOADS, TASKS

_DONE = Dispatch.DONE.value
#: Members measured, or removed, by one statement.
PORTION = 500
#: What tasks themselves take up. Blobs are shared, and go a day after the last task naming them.
_COUNTED = (TASKS, JOBS, OUTPUTS, LIVE, PAYLOADS)


_SUM: Document = {
    "_id": None,
    "n": {"$sum": 1},
    "size": {"$sum": SIZE},
    "last": {"$max": "$_id"},
}


class MongoRetention(EndedReads):
    def __init__(self, database: Database, forgetting: MongoForgetting) -> None:
        super().__init__(database)
        self._forgetting = forgetting
        self._leaving = database[LEAVING]

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

    # ---- removing -----------------------------------------------------------------------------

    async def forget(self, gone: Sequence[Ended]) -> None:
        """Remove those that have ended still, with all they left. Repeatable."""
        for each in gone:
            if each.job:
                await self._forget_job(ObjectId(each.id))
        tasks = [each.id for each in gone if not each.job]
        kept = await self._forgetting.forget_if_done(tasks)
        if kept:
            await self._forget_strays(kept)

    async def forget_due(self, gone: Sequence[Ended]) -> None:
        """The same of what goes by its own word, if it still says so."""
        lengths: dict[int, list[TaskId]] = {}
        for each in gone:
            if each.job:
                await self._forget_job(ObjectId(each.id))
            elif each.keep_s is not None:
                lengths.setdefault(each.keep_s, []).append(each.id)
        for keep_s, tasks in lengths.items():
            await self._forgetting.forget_if_done(tasks, keep_s)

    async def forget_left(self) -> None:
        """Members of jobs whose removal was cut off."""
        with reading():
            docs = await self._leaving.find({}, {"_id": 1}).limit(PAGE_JOBS).to_list()
        left = {doc["_id"] for doc in docs}
        gone = await self._without_job(left)
        for job in gone:
            await self._forget_members(job)
        for job in left:
            await self._has_left(job)

    async def _forget_job(self, job: ObjectId) -> None:
        """S20. Precondition: closed."""
        note: Document = {"q": {"_id": job}, "u": {"$set": {"at": to_ms(utc_now())}}}
        await change(self._database, {"update": LEAVING, "updates": [{**note, "upsert": True}]})
        delete: Document = {"q": {"_id": job, "open": False}, "limit": 1}
        await change(self._database, {"delete": JOBS, "deletes": [delete]})
        with settling():
            there = await self._jobs.find_one({"_id": job}, {"_id": 1}) is not None
        if not there:
            await self._forget_members(job)
        await self._has_left(job)

    async def _has_left(self, job: ObjectId) -> None:
        delete: Document = {"q": {"_id": job}, "limit": 1}
        await change(self._database, {"delete": LEAVING, "deletes": [delete]})

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
