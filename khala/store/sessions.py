"""Statements on executors' sessions (S6, S9), audits (R4, S10), leadership (S11) and the pulse.

`session` fences an executor: every Hello makes it one more, and a lease is valid only while its
session is its executor's current one and not lost. The number must never fall, or an executor
that was away would refuse every Welcome as an old one; that is why a row is never deleted, only
hidden (`forgotten`).

Audits read the leases before the sessions. In this order a lease taken after the first read is
simply not seen, whereas the other order would call it invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from bson import Int64, ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from khala.model.errors import InvariantBroken, NameTaken, NotFound
from khala.model.executor import Cordon, ExecutorRecord, SessionState
from khala.model.ids import ExecutorName, Incarnation, JudicatorName, SessionNo, Term
from khala.model.limits import NAME_HELD_S
from khala.model.statements import AuditView, HeldLease, OpenedSession, OpenSession
from khala.store.client import change
from khala.store.codec import (
    HELD_FIELDS,
    Database,
    Document,
    executor_of,
    held_of,
    session_fields,
)
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, reading
from khala.store.schema import EXECUTORS, META, TASKS

LOST = SessionState.LOST.value
_LEASED: Document = {"state": "leased"}


def _free_for(boot: str, now: datetime) -> list[Document]:
    """Any of these: the name may be taken by the process `boot`. By the clock, so that no row
    keeps its name for ever; clocks that are far apart make the name free."""
    held = timedelta(seconds=NAME_HELD_S)
    return [
        {"boot": boot},
        {"state": LOST},
        {"heard_at": {"$exists": False}},
        {"heard_at": {"$lt": now - held}},
        {"heard_at": {"$gt": now + held}},
    ]


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no executor {name[:80]!r}; khala.pex nodes shows them")


class MongoSessions:
    """`SessionStore` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._executors = database[EXECUTORS]
        self._tasks = database[TASKS]
        self._meta = database[META]

    async def open_session(self, item: OpenSession) -> OpenedSession:
        """S6. Precondition: the name is not another process's that is connected (`NAME_HELD_S`);
        raise NameTaken if it is. Otherwise whoever says Hello last is the executor. A number
        whose answer got lost is skipped, never used twice."""
        with changing():
            try:
                before = await self._open(item)
            except DuplicateKeyError:
                # The row is there and does not fit, or it was made this very instant.
                try:
                    before = await self._open(item)
                except DuplicateKeyError:
                    raise NameTaken(item.name) from None
        previous = None if before is None else executor_of(before)
        session = SessionNo(1 if previous is None else previous.session + 1)
        return OpenedSession(session=session, previous=previous)

    async def _open(self, item: OpenSession) -> Document | None:
        """The row before; a row that does not fit collides with the one that would be inserted."""
        now = to_ms(utc_now())
        fields = session_fields(item)
        fields |= {"state": SessionState.ONLINE.value, "seen_at": now}
        before: Document | None = await self._executors.find_one_and_update(
            {"_id": item.name, "$or": _free_for(item.boot, now)},
            {
                "$inc": {"session": Int64(1)},
                "$set": fields,
                "$unset": {"forgotten": "", "heard_at": ""},
                "$setOnInsert": {"id": ObjectId()},
            },
            upsert=True,
            return_document=ReturnDocument.BEFORE,
        )
        return before

    async def expire_session(self, name: ExecutorName, session: SessionNo) -> bool:
        """S9. Precondition: `session` is the current one. True if it is lost now, also if it was
        before; False if there is a later one. Its leases are the caller's next step (S8)."""
        with changing():
            result = await self._executors.update_one(
                {"_id": name, "session": Int64(session)}, {"$set": {"state": LOST}}
            )
        return result.matched_count == 1

    async def touch_sessions(self, names: Sequence[ExecutorName]) -> None:
        """Note that these executors are connected: the names are theirs for a while."""
        now = to_ms(utc_now())
        await self._note(names, {"$set": {"seen_at": now, "heard_at": now}})

    async def part_sessions(self, names: Sequence[ExecutorName]) -> None:
        """Note that these are not connected any more: another process may have the names."""
        await self._note(names, {"$unset": {"heard_at": ""}})

    async def _note(self, names: Sequence[ExecutorName], what: Document) -> None:
        rows = {"_id": {"$in": list(names)}}
        updates = [{"q": rows, "u": what, "multi": True}]
        await change(self._database, {"update": EXECUTORS, "updates": updates})

    async def forget_lost(self, older_than: timedelta) -> int:
        """Hide executors that were lost and not heard of for so long; return how many. The next
        Hello shows them again."""
        reply = await change(
            self._database,
            {
                "update": EXECUTORS,
                "updates": [
                    {
                        "q": {
                            "state": LOST,
                            "seen_at": {"$lt": to_ms(utc_now() - older_than)},
                            "forgotten": {"$exists": False},
                        },
                        "u": {"$set": {"forgotten": True}},
                        "multi": True,
                    }
                ],
            },
        )
        return int(reply["nModified"])

    async def forget_if_lost(self, name: ExecutorName) -> bool:
        """Precondition: it is lost. Hide it, as `forget_lost` does after a while; False if it is
        not lost. Raise `NotFound` if there is none, or it is hidden already."""
        shown: Document = {"_id": name, "forgotten": {"$exists": False}}
        with changing():
            hidden = await self._executors.update_one(
                {**shown, "state": LOST}, {"$set": {"forgotten": True}}
            )
        if hidden.matched_count:
            return True
        with reading():
            known = await self._executors.find_one(shown, {"_id": 1})
        if known is None:
            raise _unknown(name)
        return False

    async def set_cordon(self, name: ExecutorName, cordon: Cordon | None) -> None:
        """Precondition: it is known; raise `NotFound` if it is not. Sessions come and go without
        changing it."""
        change: Document = (
            {"$unset": {"cordon": ""}}
            if cordon is None
            else {"$set": {"cordon": msgspec.structs.asdict(cordon)}}
        )
        with changing():
            result = await self._executors.update_one({"_id": name}, change)
        if not result.matched_count:
            raise _unknown(name)

    async def list_executors(self) -> list[ExecutorRecord]:
        """By name, lost ones included, forgotten ones not."""
        with reading():
            docs = (
                await self._executors.find({"forgotten": {"$exists": False}})
                .sort("_id", 1)
                .to_list()
            )
        return [executor_of(doc) for doc in docs]

    async def leases_of(self, name: ExecutorName, up_to_session: SessionNo) -> list[HeldLease]:
        """What this executor holds under this or an earlier session."""
        return await self._held(
            {"lease.executor": name, "lease.session": {"$lte": Int64(up_to_session)}}
        )

    async def audit_own(self, names: Sequence[ExecutorName]) -> AuditView:
        """R4: these executors' rows and all their leases."""
        leases = await self._held({"lease.executor": {"$in": list(names)}})
        with reading():
            docs = await self._executors.find({"_id": {"$in": list(names)}}).to_list()
        return AuditView(records=[executor_of(doc) for doc in docs], leases=leases)

    async def audit_all(self) -> list[HeldLease]:
        """S10: leases whose session is not its executor's current one, or is lost. One round is
        no proof (an adoption may be under way); act on what two rounds show."""
        leases = await self._held({})
        with reading():
            docs = await self._executors.find({"state": {"$ne": LOST}}, {"session": 1}).to_list()
        current = {(doc["_id"], doc["session"]) for doc in docs}
        return [lease for lease in leases if (lease.executor, lease.session) not in current]

    async def _held(self, condition: Document) -> list[HeldLease]:
        with reading():
            docs = await self._tasks.find(_LEASED | condition, HELD_FIELDS, hint="leases").to_list()
        return [held_of(doc) for doc in docs]

    async def take_leadership(self, judicator: JudicatorName, incarnation: Incarnation) -> Term:
        """S11. Start a new term; every earlier one is over with this. Leadership itself is etcd's;
        the number lives here because it survives the loss of etcd."""
        with changing():
            after = await self._meta.find_one_and_update(
                {"_id": "leader"},
                {
                    "$inc": {"term": Int64(1)},
                    "$set": {"judicator": judicator, "incarnation": incarnation},
                },
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        if after is None:
            raise InvariantBroken("MongoDB answered an upsert with nothing")
        return Term(int(after["term"]))

    async def check_term(self, term: Term) -> bool:
        """Whether `term` is still the last one."""
        with reading():
            leader = await self._meta.find_one({"_id": "leader"})
        return leader is not None and int(leader["term"]) == term

    async def pulse(self, judicator: JudicatorName) -> None:
        """Write something; that it returns proves that a majority acknowledges writes."""
        await change(
            self._database,
            {
                "update": META,
                "updates": [
                    {
                        "q": {"_id": f"pulse:{judicator}"},
                        "u": {"$inc": {"n": Int64(1)}},
                        "upsert": True,
                    }
                ],
            },
        )
