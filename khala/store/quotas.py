"""What a user has of the cluster, counted in indexes of their own, which exist where quotas do.

    quota    open tasks by user, state and what holds them, in the order of the queue
    spent    ended tasks by user and date

What is told is what the store says. Only sums of the past are remembered, because they stand.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pymongo
from bson import Int64, ObjectId
from msgspec import Struct
from pymongo import ASCENDING
from pymongo.read_concern import ReadConcern

from khala.model.ids import TaskId
from khala.model.limits import QUOTA_INDEXES_S, QUOTA_USERS
from khala.model.outcome import CacheUse
from khala.model.quota import QUOTA, Turn
from khala.model.ranges import Indexes
from khala.model.task import Dispatch
from khala.store.client import change
from khala.store.codec import Database, Document, task_id
from khala.store.dates import utc_now
from khala.store.ended import SIZE
from khala.store.failures import changing, reading
from khala.store.schema import JOBS, QUOTA_TURNS, TASKS

_HELD, _QUEUED, _LEASED, _DONE = (
    each.value for each in (Dispatch.HELD, Dispatch.QUEUED, Dispatch.LEASED, Dispatch.DONE)
)
_INDEXES: list[Document] = [
    {
        "name": "quota",
        "key": {"user": 1, "state": 1, "hold.keys": 1, "rank": 1, "_id": 1},
        # Every state but done: an older MongoDB has no $in here.
        "partialFilterExpression": {"state": {"$gt": _DONE}},
    },
    {
        "name": "spent",
        "key": {"user": 1, "done_at": 1},
        "partialFilterExpression": {"state": _DONE},
    },
]
#: Tasks measured by one statement.
PORTION = 5000
#: A result has been recorded by then under the date it came with.
_SETTLED = timedelta(minutes=1)
#: As for members of jobs: tasks move in an index while they are counted, a snapshot misses none.
_SNAPSHOT = ReadConcern("snapshot")


def _cpu_ms(outcome: str) -> Document:
    """Of one attempt. What the cache answered with was spent by an earlier task."""
    compiled = {"$ne": [f"{outcome}.compile.cache", CacheUse.HIT.value]}
    return {
        "$add": [
            {"$cond": [compiled, _stage_ms(f"{outcome}.compile"), 0]},
            _stage_ms(f"{outcome}.execute"),
        ]
    }


def _stage_ms(stage: str) -> Document:
    modes = (f"{stage}.cpu_user_ms", f"{stage}.cpu_system_ms")
    return {"$add": [{"$ifNull": [mode, 0]} for mode in modes]}


#: Of a task: that of its result, and of those that were tried again.
TASK_MS: Document = {
    "$add": [
        _cpu_ms("$outcome"),
        {"$sum": {"$map": {"input": {"$ifNull": ["$past", []]}, "in": _cpu_ms("$$this.outcome")}}},
    ]
}


class _Spent(Struct, frozen=True):
    """Processor time of a day's tasks that ended before a date."""

    until: datetime
    ms: int


class MongoQuotas:
    """`khala.core.quotas.QuotaPort`, and what is asked before a task is accepted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks = database[TASKS]
        self._counted = self._tasks.with_options(read_concern=_SNAPSHOT)
        self._jobs = database[JOBS]
        self._turns = database[QUOTA_TURNS]
        self._spent: dict[int, _Spent] = {}

    async def prepare(self) -> None:
        """Make the indexes; without quotas nobody pays for them. Among a million tasks that takes
        longer than any other statement may; a member that is down is not waited for."""
        command = {"createIndexes": TASKS, "indexes": _INDEXES, "commitQuorum": "majority"}
        with changing(), pymongo.timeout(QUOTA_INDEXES_S):
            await self._database.command(command)

    # ---- what may run -------------------------------------------------------------------------

    async def find_waiting(self, user: int, limit: int) -> list[TaskId]:
        condition: Document = {"user": user, "state": _HELD, "hold.keys": [QUOTA]}
        condition["hold.until"] = {"$exists": False}
        with reading():
            docs = (
                await self._tasks.find(condition, {"_id": 1}, hint="quota")
                .sort([("rank", ASCENDING), ("_id", ASCENDING)])
                .limit(limit)
                .to_list()
            )
        return [task_id(doc["_id"]) for doc in docs]

    async def count_out(self, user: int) -> int:
        """A task that waits for a date or for another one counts unless the quota holds it too: it
        may join the queue at any moment."""
        out: list[Document] = [
            {"user": user, "state": {"$in": [_QUEUED, _LEASED]}},
            {"user": user, "state": _HELD, "hold.keys": {"$ne": QUOTA}},
        ]
        with reading():
            return await self._counted.count_documents({"$or": out}, hint="quota")

    async def cpu_s_today(self, user: int) -> float:
        """Read anew are the ends of the last minute only."""
        now = utc_now()
        known = self._spent.get(user)
        if known is None or known.until < midnight(now):
            known = _Spent(midnight(now), 0)
        settled = max(known.until, now - _SETTLED)
        pipeline: list[Document] = [
            {"$match": {"user": user, "state": _DONE, "done_at": {"$gte": known.until}}},
            {"$group": {"_id": {"$lt": ["$done_at", settled]}, "ms": {"$sum": TASK_MS}}},
        ]
        with reading():
            docs = await (await self._tasks.aggregate(pipeline, hint="spent")).to_list()
        found = {bool(doc["_id"]): int(doc["ms"]) for doc in docs}
        stands = _Spent(settled, known.ms + found.get(True, 0))
        self._spent.pop(user, None)
        self._spent[user] = stands
        if len(self._spent) > QUOTA_USERS:
            del self._spent[next(iter(self._spent))]
        return (stands.ms + found.get(False, 0)) / 1000

    async def find_users(self) -> list[int]:
        """One step in the index for each user."""
        users: list[int] = []
        condition: Document = {"state": _HELD, "hold.keys": QUOTA, "user": {"$exists": True}}
        while True:
            with reading():
                doc = await self._tasks.find_one(
                    condition, {"user": 1}, hint="quota", sort=[("user", ASCENDING)]
                )
            if doc is None:
                return users
            users.append(int(doc["user"]))
            condition["user"] = {"$gt": doc["user"]}

    async def load_turn(self, user: int) -> Turn:
        with reading():
            doc = await self._turns.find_one({"_id": Int64(user)})
        if doc is None:
            return Turn()
        return Turn(number=int(doc["number"]), tasks=tuple(map(task_id, doc["tasks"])))

    async def take_turn_if_next(self, user: int, turn: Turn) -> bool:
        """S22. Precondition: the turn before it stands. Where the outcome is unknown, the next one
        lifts what this one names, or has decided otherwise."""
        update: Document = {
            "q": {"_id": Int64(user), "number": Int64(turn.number - 1)},
            "u": {
                "$set": {
                    "number": Int64(turn.number),
                    "tasks": [ObjectId(task) for task in turn.tasks],
                }
            },
            # Two first turns at once: the second one is refused by its id.
            "upsert": turn.number == 1,
        }
        reply = await change(self._database, {"update": QUOTA_TURNS, "updates": [update]})
        return int(reply["n"]) == 1

    # ---- what may be accepted -------------------------------------------------------------------

    async def count_queued(self, user: int) -> int:
        """Accepted, and not given to an executor; those of open jobs that are not made, too."""
        waiting = {"user": user, "state": {"$in": [_QUEUED, _HELD]}}
        unmade: list[Document] = [
            {"$match": {"open": True, "user": user, "stop": {"$exists": False}}},
            {"$project": {"expanded": 1, "indexes": "$spec.indexes"}},
        ]
        with reading():
            made = await self._tasks.count_documents(waiting, hint="quota")
            jobs = await (await self._jobs.aggregate(unmade, hint="open")).to_list()
        return made + sum(_left(job) for job in jobs)

    async def count_running(self, user: int) -> int:
        leased = {"user": user, "state": _LEASED}
        with reading():
            return await self._tasks.count_documents(leased, hint="quota")

    async def stored_bytes(self, user: int) -> int:
        """In portions, because a user may have a million tasks and a statement has a deadline."""
        size = 0
        behind: Document = {}
        while True:
            pipeline: list[Document] = [
                {"$match": {"$and": [{"user": user}, behind]}},
                {"$sort": {"submitted_at": ASCENDING, "_id": ASCENDING}},
                {"$limit": PORTION},
                {
                    "$group": {
                        "_id": None,
                        "n": {"$sum": 1},
                        "size": {"$sum": SIZE},
                        "at": {"$last": "$submitted_at"},
                        "id": {"$last": "$_id"},
                    }
                },
            ]
            with reading():
                found = await (await self._tasks.aggregate(pipeline, hint="user")).to_list()
            if found:
                size += int(found[0]["size"])
            if not found or found[0]["n"] < PORTION:
                return size
            at, last = found[0]["at"], found[0]["id"]
            beyond = [{"submitted_at": {"$gt": at}}, {"_id": {"$gt": last}}]
            behind = {"submitted_at": {"$gte": at}, "$or": beyond}

    async def knows(self, user: int, key: str) -> bool:
        """The key was used before: what comes under it again is no more than there is."""
        condition = {"user": user, "idem": key}
        with reading():
            found = [
                await documents.find_one(condition, {"_id": 1}, hint="idem")
                for documents in (self._tasks, self._jobs)
            ]
        return any(found)


def midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _left(job: Document) -> int:
    indexes = msgspec.convert(job["indexes"], Indexes)
    return max(0, indexes.size - int(job["expanded"]))
