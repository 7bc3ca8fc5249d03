"""Jobs: `{_id, user, spec, submitted_at, version, expanded, open, stop, counts}`, and what is
asked about their members.

A job's document changes by compare-and-set, as a task's does. How far its members are made is a
hint in it: making is repeatable, because the id of a member follows from job and position. Members
are counted and listed from an index that has their job first, so neither loads a document more than
it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from bson import Binary, Int64
from pymongo import ASCENDING, DESCENDING
from pymongo.read_concern import ReadConcern

from khala.model.errors import Conflict, NotFound, OutcomeUnknown
from khala.model.ids import AttemptNo, JobId, TaskId
from khala.model.job import Job, JobSpec, NewJob, Stop, is_job_id, member_id
from khala.model.outcome import Cancellation
from khala.model.statements import AcceptResult
from khala.model.task import TERMINAL, Dispatch, TaskBrief, TaskState
from khala.protocol.jobs import JobRows, ListJobs
from khala.store.client import change
from khala.store.codec import (
    BRIEF_FIELDS,
    Database,
    Document,
    brief_of_doc,
    object_id,
    spec_doc,
    spec_of,
    task_id,
)
from khala.store.dates import to_ms, utc_now
from khala.store.failures import DUPLICATE_KEY, changing, item_failure, reading, settling
from khala.store.job_holds import JobHolds
from khala.store.schema import JOBS

_OPEN = [Dispatch.QUEUED.value, Dispatch.HELD.value, Dispatch.LEASED.value]
#: An index is looked through in order while tasks move in it, some of them against that order: one
#: that was missed for it would let another start beyond the limit. A snapshot misses none.
_SNAPSHOT = ReadConcern("snapshot")


class MongoJobs(JobHolds):
    """`JobStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._database = database
        self._counted = self._tasks.with_options(read_concern=_SNAPSHOT)

    # ---- jobs -------------------------------------------------------------------------------

    async def insert_if_new(self, item: NewJob) -> AcceptResult:
        """S14. Precondition: no job with this id, and none of the user with this key."""
        reply = await change(self._database, {"insert": JOBS, "documents": [_new_doc(item)]})
        for error in reply.get("writeErrors", []):
            if error["code"] != DUPLICATE_KEY:
                raise item_failure(error["code"], error["errmsg"])
            return await self._resolve(item)
        return AcceptResult(id=TaskId(item.id), replay=False)

    async def _resolve(self, item: NewJob) -> AcceptResult:
        mine: list[Document] = [{"_id": object_id(TaskId(item.id))}]
        if item.key is not None:
            mine.append({"user": item.spec.user, "idem": item.key})
        with settling():
            found = await self._jobs.find({"$or": mine}, {"idem_fp": 1}).to_list()
        if not found:
            raise OutcomeUnknown("another request with this key is being stored")
        for doc in found:
            if doc["_id"] == object_id(TaskId(item.id)):
                return AcceptResult(id=TaskId(item.id), replay=False)
        earlier = task_id(found[0]["_id"])
        if found[0]["idem_fp"] != item.fingerprint:
            raise Conflict(f"key: already used with another request, as job {earlier}")
        return AcceptResult(id=earlier, replay=True)

    async def get(self, job: JobId) -> Job:
        """Raise `NotFound`."""
        doc = None
        if is_job_id(job):
            with reading():
                doc = await self._jobs.find_one({"_id": object_id(TaskId(job))})
        if doc is None:
            raise NotFound(f"job {job} does not exist")
        return _job_of(doc)

    async def list_jobs(self, query: ListJobs) -> JobRows:
        """Newest first, by the place in that order."""
        condition: Document = {} if query.user is None else {"user": query.user}
        if query.before is not None:
            condition["_id"] = {"$lt": object_id(TaskId(query.before))}
        with reading():
            docs = (
                await self._jobs.find(condition)
                .sort("_id", DESCENDING)
                .limit(query.limit + 1)
                .to_list()
            )
        jobs = [_job_of(doc) for doc in docs[: query.limit]]
        return JobRows(jobs=jobs, more=len(docs) > query.limit)

    async def find_open(self, after: JobId | None, limit: int) -> list[Job]:
        """Those for which something is left to be done, oldest first."""
        condition: Document = {"open": True}
        if after is not None:
            condition["_id"] = {"$gt": object_id(TaskId(after))}
        with reading():
            docs = (
                await self._jobs.find(condition, hint="open")
                .sort("_id", ASCENDING)
                .limit(limit)
                .to_list()
            )
        return [_job_of(doc) for doc in docs]

    async def note_expanded(self, job: JobId, position: int) -> None:
        """S15. Members up to `position` are made; the note only grows."""
        with changing():
            await self._jobs.update_one(
                {"_id": object_id(TaskId(job))}, {"$max": {"expanded": position}}
            )

    async def stop_if_open(
        self, job: JobId, why: Stop, cancellation: Cancellation | None = None
    ) -> bool:
        """S16. Precondition: open, and not stopped. No member is made from here on but those that
        are being made."""
        now = to_ms(utc_now())
        stopped: Document = {"stop": why.value, "stopped_at": now, "updated_at": now}
        if cancellation is not None:
            stopped["cancellation"] = msgspec.to_builtins(cancellation)
        with changing():
            result = await self._jobs.update_one(
                {"_id": object_id(TaskId(job)), "open": True, "stop": {"$exists": False}},
                {"$set": stopped, "$inc": {"version": 1}},
            )
        return result.matched_count == 1

    async def close_if_version(
        self, job: JobId, version: int, counts: Mapping[TaskState, int]
    ) -> bool:
        """S17. Precondition: open, and nothing has changed what its members may do."""
        now = to_ms(utc_now())
        done = {"open": False, "counts": dict(counts), "updated_at": now, "done_at": now}
        with changing():
            result = await self._jobs.update_one(
                {"_id": object_id(TaskId(job)), "open": True, "version": version}, {"$set": done}
            )
        return result.matched_count == 1

    # ---- members ----------------------------------------------------------------------------

    async def count_open(self, job: JobId) -> int:
        """Members that are made and have not ended."""
        return await self._count({"state": {"$in": _OPEN}}, job)

    async def count_failed(self, job: JobId) -> int:
        failed = [TaskState.FAILED.value, TaskState.ERROR.value]
        return await self._count({"state": "done", "outcome.ending": {"$in": failed}}, job)

    async def _count(self, condition: Document, job: JobId) -> int:
        match = {"job": object_id(TaskId(job)), **condition}
        with reading():
            cursor = await self._counted.aggregate(
                [{"$match": match}, {"$count": "n"}], hint="members"
            )
            found = await cursor.to_list()
        return int(found[0]["n"]) if found else 0

    async def count_states(self, job: JobId) -> dict[TaskState, int]:
        """Of members that are made; those that an executor has are `running`."""
        group = {"_id": {"state": "$state", "ending": "$outcome.ending"}, "n": {"$sum": 1}}
        with reading():
            cursor = await self._tasks.aggregate(
                [{"$match": {"job": object_id(TaskId(job))}}, {"$group": group}], hint="members"
            )
            found = await cursor.to_list()
        counts: dict[TaskState, int] = {}
        for each in found:
            state = _state_of(each["_id"])
            counts[state] = counts.get(state, 0) + int(each["n"])
        return counts

    async def list_made(
        self, job: JobId, first: int, last: int, states: Sequence[TaskState], limit: int
    ) -> list[TaskBrief]:
        """Members that are made, at positions `first` to `last`, in one of these states (none:
        in any), in the order of their positions."""
        between = {
            "$gte": object_id(member_id(job, first)),
            "$lte": object_id(member_id(job, last)),
        }
        member: Document = {"_id": between, "job": object_id(TaskId(job))}
        if not states:
            return await self._list(member, limit, "_id_")
        # Each state is one range of the index, in order. Together they would have to be sorted.
        found: list[TaskBrief] = []
        for condition in {
            str(each): each for state in states for each in _in_state(state)
        }.values():
            found += await self._list({**member, **condition}, limit, "members")
        return sorted(found, key=lambda brief: brief.id)[:limit]

    async def _list(self, condition: Document, limit: int, index: str) -> list[TaskBrief]:
        with reading():
            docs = (
                await self._tasks.find(condition, BRIEF_FIELDS, hint=index)
                .sort("_id", ASCENDING)
                .limit(limit)
                .to_list()
            )
        return [brief_of_doc(doc) for doc in docs]


def _new_doc(item: NewJob) -> Document:
    spec = item.spec
    at = to_ms(item.submitted_at)
    rest: Document = msgspec.to_builtins(msgspec.structs.replace(spec, task=None, blob=None))
    doc: Document = {
        "_id": object_id(TaskId(item.id)),
        "user": spec.user,
        "spec": rest,
        "submitted_at": at,
        "updated_at": at,
        "version": 0,
        "expanded": 0,
        "open": True,
    }
    blobs = [] if spec.blob is None else [spec.blob]
    if spec.task is not None:
        doc["task"] = spec_doc(spec.task)
        blobs += spec.task.blobs
    if spec.blob is not None:
        doc["blob"] = Binary(bytes.fromhex(spec.blob))
    blobs += item.blobs
    if blobs:
        doc["blobs"] = [Binary(bytes.fromhex(name)) for name in blobs]
    if item.key is not None:
        doc["idem"] = item.key
        doc["idem_fp"] = Binary(item.fingerprint)
    if item.held:
        doc["held"] = True
    if spec.retention_s is not None:
        doc["keep_s"] = Int64(spec.retention_s)
    return doc


def _job_of(doc: Mapping[str, Any]) -> Job:
    spec = {**doc["spec"], "user": int(doc["user"])}
    if "blob" in doc:
        spec["blob"] = bytes(doc["blob"]).hex()
    known = msgspec.convert(spec, JobSpec)
    if "task" in doc:
        task = spec_of({"spec": doc["task"], "user": doc["user"]})
        known = msgspec.structs.replace(known, task=task)
    return Job(
        id=JobId(task_id(doc["_id"])),
        spec=known,
        submitted_at=doc["submitted_at"],
        updated_at=doc["updated_at"],
        version=int(doc["version"]),
        expanded=int(doc["expanded"]),
        open=bool(doc["open"]),
        stop=Stop(doc["stop"]) if "stop" in doc else None,
        stopped_at=doc.get("stopped_at"),
        cancellation=msgspec.convert(doc.get("cancellation"), Cancellation | None),
        counts=msgspec.convert(doc["counts"], dict[TaskState, int]) if "counts" in doc else None,
        done_at=doc.get("done_at"),
        attempts_before=AttemptNo(int(doc.get("attempts_before", 0))),
        held=doc.get("held"),
    )


def _state_of(key: Mapping[str, Any]) -> TaskState:
    if key["state"] == Dispatch.DONE.value:
        return TaskState(key["ending"])
    return TaskState.RUNNING if key["state"] == Dispatch.LEASED.value else TaskState.QUEUED


def _in_state(state: TaskState) -> list[Document]:
    """As `_state_of`: what is starting, compiling or running is `running` here."""
    if state in TERMINAL:
        return [{"state": Dispatch.DONE.value, "outcome.ending": state.value}]
    if state is TaskState.QUEUED:
        waiting = (Dispatch.QUEUED, Dispatch.HELD)
        return [{"state": each.value, "outcome.ending": None} for each in waiting]
    return [{"state": Dispatch.LEASED.value, "outcome.ending": None}]
