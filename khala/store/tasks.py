"""Statements on tasks: S1 to S5 and S7; S8 and S21 are in `khala.store.returns`, S23 in
`khala.store.patches`.

A task document moves `held -> queued -> leased -> done`; `attempt` is its fencing token. The rules
that every statement here keeps, and that all of Khala's promises rest on:

- Each change is one compare-and-set on one document: the filter names the state and the attempt
  it expects, so a stale caller changes nothing.
- Only a lease (S1 fused, S2) makes `attempt` greater.
- `done` is absorbing: every filter excludes it.
- Nothing but S1 writes `spec`, but for what S23 may; a status update never rewrites payload bytes.
- All are repeatable. A write whose answer was lost may land late, even after a later read, so a
  repetition does not ask "did it happen" but states it again and then reads whose write stands:
  the claim for a lease, `result_attempt` for a result, the id for an insert.

Statements on several tasks are one command; the server runs the items independently. Only if it
changed fewer than were sent is a second command needed, to read which.
"""

from __future__ import annotations

from collections.abc import Sequence

from bson import Int64
from msgspec.structs import replace
from pymongo import ReturnDocument

from khala.model.errors import AlreadyDone, Conflict, OutcomeUnknown
from khala.model.ids import AttemptNo, TaskId
from khala.model.outcome import Cancellation
from khala.model.statements import (
    AcceptResult,
    CancelResult,
    FinishItem,
    FinishResult,
    Lease,
    LeaseItem,
    NewTask,
    ProgressItem,
    cancelled,
)
from khala.model.task import Dispatch, TaskState
from khala.store.client import change
from khala.store.codec import (
    BRIEF_FIELDS,
    Database,
    Document,
    brief_of_doc,
    lease_doc,
    lease_of,
    new_task_doc,
    object_id,
    task_id,
)
from khala.store.dates import to_ms, utc_now
from khala.store.endings import ending
from khala.store.failures import DUPLICATE_KEY, changing, item_failure, settling
from khala.store.patches import TaskPatches
from khala.store.schema import TASKS

QUEUED, HELD, LEASED = (each.value for each in (Dispatch.QUEUED, Dispatch.HELD, Dispatch.LEASED))
_OPEN = {"$in": [QUEUED, HELD, LEASED]}
#: Of a task that is being cancelled: its brief, and whom to tell.
_BEFORE_FIELDS = {name: 1 for name in BRIEF_FIELDS if name != "lease.executor"} | {"lease": 1}


class MongoTasks(TaskPatches):
    """`TaskStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        super().__init__(database[TASKS])
        self._database = database

    async def insert_if_new(self, items: Sequence[NewTask]) -> list[AcceptResult | Exception]:
        """S1. Precondition: no task with this id, and none of the user with this key."""
        reply = await change(
            self._database, {"insert": TASKS, "documents": [new_task_doc(item) for item in items]}
        )
        answers: list[AcceptResult | Exception] = [
            AcceptResult(id=item.id, replay=False) for item in items
        ]
        duplicates: list[int] = []
        for error in reply.get("writeErrors", []):
            if error["code"] == DUPLICATE_KEY:
                duplicates.append(error["index"])
            else:
                answers[error["index"]] = item_failure(error["code"], error["errmsg"])
        if duplicates:
            found = await self._resolve([items[index] for index in duplicates])
            for index, answer in zip(duplicates, found, strict=True):
                answers[index] = answer
        return answers

    async def _resolve(self, items: list[NewTask]) -> list[AcceptResult | Exception]:
        """Tell an insert of ours that was repeated from a key that was used before."""
        keys = [{"user": item.spec.user, "idem": item.key} for item in items if item.key]
        by_id = {"_id": {"$in": [object_id(item.id) for item in items]}}
        with settling():
            docs = await self._tasks.find(
                {"$or": [by_id, *keys]}, {"user": 1, "idem": 1, "idem_fp": 1}
            ).to_list()
        known = {task_id(doc["_id"]) for doc in docs}
        keyed = {(doc["user"], doc["idem"]): doc for doc in docs if "idem" in doc}
        return [
            AcceptResult(id=item.id, replay=False)
            if item.id in known
            else _replay(item, keyed.get((item.spec.user, item.key)))
            for item in items
        ]

    async def lease_if_queued(self, items: Sequence[LeaseItem]) -> list[bool]:
        """S2. Precondition: queued, and `attempt` is the item's. The lease makes it one more."""
        updates = [_leasing(item) for item in items]
        reply = await change(self._database, {"update": TASKS, "updates": updates})
        _check_items(reply)
        if reply["n"] == len(items):
            return [True] * len(items)
        ids = [object_id(item.id) for item in items]
        with settling():
            docs = await self._tasks.find({"_id": {"$in": ids}}, {"lease.claim": 1}).to_list()
        claims = {task_id(doc["_id"]): doc["lease"]["claim"] for doc in docs if "lease" in doc}
        return [claims.get(item.id) == item.lease.claim for item in items]

    async def progress_if_leased(self, items: Sequence[ProgressItem]) -> None:
        """S3. Precondition: leased under this attempt. Advisory: nothing is read back."""
        now = to_ms(utc_now())
        updates: list[Document] = [
            {
                "q": {
                    "_id": object_id(item.id),
                    "state": LEASED,
                    "attempt": Int64(item.attempt),
                },
                "u": {"$set": {"progress": item.progress.value, "updated_at": now}},
            }
            for item in items
        ]
        await change(self._database, {"update": TASKS, "updates": updates})

    async def finish_if_attempt(
        self, items: Sequence[FinishItem]
    ) -> list[FinishResult | Exception]:
        """S4. Precondition: `attempt` is the item's, the task is not done, and that attempt's
        result was not one to be followed by another (S21).

        `queued` will do: a requeued task whose number has not moved takes the late result and
        saves a rerun.
        """
        updates: list[Document] = [
            {
                "q": {
                    "_id": object_id(item.id),
                    "attempt": Int64(item.attempt),
                    "state": _OPEN,
                    "retried": {"$ne": Int64(item.attempt)},
                },
                "u": ending(item.outcome, item.attempt, item.at),
            }
            for item in items
        ]
        reply = await change(self._database, {"update": TASKS, "updates": updates})
        failed: dict[int, Exception] = {
            error["index"]: item_failure(error["code"], error["errmsg"])
            for error in reply.get("writeErrors", [])
        }
        if reply["n"] == len(items):
            return [FinishResult.RECORDED] * len(items)
        with settling():
            docs = await self._tasks.find(
                {"_id": {"$in": [object_id(item.id) for item in items]}},
                {"result_attempt": 1, "retried": 1},
            ).to_list()
        found = {task_id(doc["_id"]): doc for doc in docs}
        return [
            failed.get(index) or _what_stands(found.get(item.id, {}), item.attempt)
            for index, item in enumerate(items)
        ]

    async def cancel_if_open(
        self, task: TaskId, cancellation: Cancellation | None = None
    ) -> CancelResult:
        """S5. Precondition: not done. Raise `NotFound` or `AlreadyDone`."""
        outcome = cancelled(cancellation)
        update = ending(outcome, None)
        with changing():
            before = await self._tasks.find_one_and_update(
                {"_id": object_id(task), "state": _OPEN},
                update,
                projection=_BEFORE_FIELDS,
                return_document=ReturnDocument.BEFORE,
            )
        if before is None:
            brief = brief_of_doc(await self._one(task, BRIEF_FIELDS))
            raise AlreadyDone(f"task {task} has already ended: {brief.state}")
        lease = lease_of(before)
        brief = replace(
            brief_of_doc(before),
            state=TaskState.CANCELLED,
            reason=outcome.reason,
            cancellation=cancellation,
            executor=None,
            updated_at=update["$set"]["updated_at"],
            done_at=update["$set"]["done_at"],
        )
        attempt = None if lease is None else brief.attempt
        return CancelResult(before=lease, attempt=attempt, brief=brief)

    async def adopt_if_attempt(self, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool:
        """S7. Precondition: under this attempt, queued or leased by this executor, not by a later
        session, and without a result (S21). The attempt stays what it is: the run goes on."""
        now = to_ms(utc_now())
        mine = {
            "state": LEASED,
            "lease.executor": lease.executor,
            "lease.session": {"$lte": Int64(lease.session)},
        }
        with changing():
            result = await self._tasks.update_one(
                {
                    "_id": object_id(task),
                    "attempt": Int64(attempt),
                    "retried": {"$ne": Int64(attempt)},
                    "$or": [{"state": QUEUED}, mine],
                },
                {
                    "$set": {"state": LEASED, "lease": lease_doc(lease), "updated_at": now},
                    # Keeps the date of a lease that was never taken back.
                    "$min": {"started_at": now},
                },
            )
        return result.matched_count == 1


def _leasing(item: LeaseItem) -> Document:
    now = item.at or to_ms(utc_now())
    fields = {
        "state": LEASED,
        "lease": lease_doc(item.lease),
        "started_at": now,
        "updated_at": now,
    }
    return {
        "q": {"_id": object_id(item.id), "state": QUEUED, "attempt": Int64(item.attempt)},
        "u": {"$set": fields, "$inc": {"attempt": Int64(1)}},
    }


def _what_stands(doc: Document, attempt: AttemptNo) -> FinishResult:
    if doc.get("result_attempt") == attempt:
        return FinishResult.RECORDED
    return FinishResult.RETRIED if doc.get("retried") == attempt else FinishResult.STALE


def _replay(item: NewTask, earlier: Document | None) -> AcceptResult | Exception:
    if earlier is None:
        # The other insert is not on a majority yet; only then is its answer worth anything.
        return OutcomeUnknown("another request with this key is being stored")
    if earlier["idem_fp"] != item.fingerprint:
        return Conflict(
            f"key: already used with another request, as task {task_id(earlier['_id'])}"
        )
    return AcceptResult(id=task_id(earlier["_id"]), replay=True)


def _check_items(reply: Document) -> None:
    for error in reply.get("writeErrors", []):
        raise item_failure(error["code"], error["errmsg"])
