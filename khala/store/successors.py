"""What waits for a job, or for one of its tasks: found by the conditions of holds, which name it.

Those that have begun are not found, because nothing names what a task has waited for but its own
document.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from khala.model.depends import Predecessor, keys_of, predecessor_of
from khala.model.holds import HoldKey
from khala.model.ids import JobId, TaskId
from khala.model.job import ids_of
from khala.model.spec import Member
from khala.model.task import Dispatch
from khala.store.codec import Database, Document, task_id
from khala.store.failures import reading
from khala.store.schema import TASKS


class Successor(Struct, frozen=True, kw_only=True):
    """A task that waits."""

    id: TaskId
    #: None for a task of its own.
    member: Member | None
    name: str
    #: What it waits for, of the job that was asked about.
    waits_for: tuple[Predecessor, ...]


class MongoSuccessors:
    def __init__(self, database: Database) -> None:
        self._tasks = database[TASKS]

    async def find(self, job: JobId, limit: int) -> list[Successor]:
        """By their ids."""
        found: dict[TaskId, Document] = {}
        for first, last in _key_ranges(job):
            held = {
                "state": Dispatch.HELD.value,
                "hold.keys": {"$elemMatch": {"$gte": first, "$lte": last}},
            }
            fields = {"hold.keys": 1, "spec.member": 1, "spec.name": 1}
            with reading():
                docs = await self._tasks.find(held, fields, hint="holds").limit(limit).to_list()
            found |= {task_id(doc["_id"]): doc for doc in docs}
        return [_successor(task, found[task], job) for task in sorted(found)[:limit]]


def _key_ranges(job: JobId) -> list[tuple[HoldKey, HoldKey]]:
    """From the key of the job itself to that of its last task, of each kind."""
    return list(zip(*map(keys_of, ids_of(job)), strict=True))


def _successor(task: TaskId, doc: Document, job: JobId) -> Successor:
    first, last = ids_of(job)
    named = (predecessor_of(HoldKey(key)) for key in doc["hold"]["keys"])
    return Successor(
        id=task,
        member=msgspec.convert(doc.get("spec", {}).get("member"), Member | None),
        name=doc.get("spec", {}).get("name", ""),
        waits_for=tuple(each for each in named if each and first <= each.id <= last),
    )
