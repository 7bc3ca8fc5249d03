"""A new epoch: what a lost majority may have decided must not meet what is decided from now on.

A survivor's data ends somewhere before the end. The majority may have given out numbers that it has
not heard of: attempts of tasks, sessions of executors, terms of leaders. They are fencing tokens,
so every one of them jumps, far beyond what can have been missed. An executor that still holds such
an attempt finds it superseded, as it does any other; a result of it is not recorded.

All statements are repeatable: an interrupted recovery is begun again.
"""

from __future__ import annotations

import msgspec
import pymongo
from bson import Int64
from msgspec import Struct

from khala.model.dates import utc_now
from khala.model.executor import SessionState
from khala.model.task import Dispatch
from khala.protocol.members import Standing
from khala.store.codec import Database
from khala.store.dates import to_ms
from khala.store.failures import changing, reading
from khala.store.schema import EXECUTORS, JOBS, JUDICATORS, META, TASKS, TOKENS

#: For each attempt that was missed an executor was lost or emptied in the meantime.
JUMP = 1000
_WAITING = {"$in": [Dispatch.QUEUED.value, Dispatch.HELD.value]}
_DOCUMENT = {"_id": "epoch"}


class Epoch(Struct, frozen=True, kw_only=True):
    """Which one begins, and who is the only judicator in it. A restored backup brings the document
    of another cluster along."""

    cluster: str
    number: int
    judicator: str


class Kept(Struct, frozen=True, kw_only=True):
    """What a recovery found."""

    tasks: int
    unfinished: int
    #: Of the unfinished, those that an executor had: they run again.
    interrupted: int


async def begin_epoch(database: Database, epoch: Epoch) -> Kept:
    """Precondition: nobody serves on this database."""
    with reading(), pymongo.timeout(None):
        tasks = database[TASKS]
        leased = await tasks.count_documents({"state": Dispatch.LEASED.value})
        waiting = await tasks.count_documents({"state": _WAITING})
        total = await tasks.count_documents({})
    with changing(), pymongo.timeout(None):
        await _leave_one(database, epoch.judicator)
        what = msgspec.structs.asdict(epoch)
        if await database[META].find_one(_DOCUMENT | what) is None:
            await _jump(database)
            begun = what | {"since": to_ms(utc_now())}
            await database[META].update_one(_DOCUMENT, {"$set": begun}, upsert=True)
    return Kept(tasks=total, unfinished=leased + waiting, interrupted=leased)


async def _leave_one(database: Database, judicator: str) -> None:
    """Members, and tokens: whether one was used up is no longer known."""
    await database[JUDICATORS].delete_many({"_id": {"$ne": judicator}})
    await database[JUDICATORS].update_one(
        {"_id": judicator}, {"$set": {"standing": Standing.MEMBER.value}}
    )
    await database[TOKENS].delete_many({})


async def _jump(database: Database) -> None:
    """Executors' sessions last: until they are lost, nothing that is leased looks forgotten."""
    now = to_ms(utc_now())
    tasks = database[TASKS]
    await tasks.update_many({"state": _WAITING}, {"$inc": {"attempt": Int64(JUMP)}})
    await tasks.update_many(
        {"state": Dispatch.LEASED.value},
        {
            "$set": {"state": Dispatch.QUEUED.value, "updated_at": now},
            "$unset": {"lease": "", "progress": "", "started_at": ""},
            "$inc": {"attempt": Int64(JUMP)},
        },
    )
    await database[JOBS].update_many({"open": True}, {"$inc": {"attempts_before": Int64(JUMP)}})
    await database[META].update_one({"_id": "leader"}, {"$inc": {"term": Int64(JUMP)}})
    await database[EXECUTORS].update_many(
        {},
        {
            "$inc": {"session": Int64(JUMP)},
            "$set": {"state": SessionState.LOST.value},
            "$unset": {"heard_at": ""},
        },
    )
