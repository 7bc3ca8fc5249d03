"""Jobs that a person holds: S24, and what of them is to be held.

The document says what is wanted; whoever looks at the job makes its members follow, one by one and
as often as it takes. So nothing has to be done at once to thousands of tasks, and a judicator that
is slow is only late.
"""

from __future__ import annotations

from khala.model.ids import JobId, TaskId
from khala.model.job import hold_key
from khala.model.task import Dispatch
from khala.store.codec import Database, Document, object_id, task_id
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, reading
from khala.store.schema import JOBS, TASKS


class JobHolds:
    """A part of `MongoJobs`."""

    def __init__(self, database: Database) -> None:
        self._jobs = database[JOBS]
        self._tasks = database[TASKS]

    async def hold_if_version(self, job: JobId, version: int, *, held: bool) -> bool:
        """S24. Precondition: open, not stopped, and nothing has changed what its members may do. A
        member may be made by whoever read it before, or be given away by whoever holds it not yet.
        """
        condition: Document = {
            "_id": object_id(TaskId(job)),
            "open": True,
            "stop": {"$exists": False},
            "version": version,
        }
        update: Document = {
            "$set": {"held": held, "updated_at": to_ms(utc_now())},
            "$inc": {"version": 1},
        }
        with changing():
            result = await self._jobs.update_one(condition, update)
        return result.matched_count == 1

    async def find_unheld(self, job: JobId, limit: int) -> list[TaskId]:
        """Members that wait, and are not held with their job."""
        unheld: list[Document] = [
            {"state": Dispatch.QUEUED.value},
            {"state": Dispatch.HELD.value, "hold.keys": {"$ne": hold_key(job)}},
        ]
        found: list[Document] = []
        for condition in unheld:
            member = {"job": object_id(TaskId(job)), **condition}
            with reading():
                found += (
                    await self._tasks.find(member, {"_id": 1}, hint="members")
                    .limit(limit)
                    .to_list()
                )
        return [task_id(doc["_id"]) for doc in found[:limit]]
