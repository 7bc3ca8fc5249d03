"""The audit log: what was done, noted before it is done.

An entry is stored before its act begins, and the outcome is added once, afterwards. So nothing is
done unnoted, and an entry without an outcome says the truth: nobody knows how it ended. There is no
statement that changes or removes an entry; what is too old the server removes, and beyond
`AUDIT_ENTRIES` the oldest go, which the leader sees to.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from bson import ObjectId
from bson.errors import InvalidId
from pymongo import DESCENDING

from khala.model.access_limits import AUDIT_ENTRIES
from khala.model.errors import NotFound, Rejected
from khala.protocol.access import AuditEntry, AuditPage, AuditQuery, AuditRow
from khala.store.codec import Database, Document
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, reading
from khala.store.schema import AUDIT

#: Of an id's date.
_SECONDS_MAX = 2**32 - 1
#: So many of the oldest go at a time, and so often in one round.
_REMOVED_AT_ONCE = 2000
_REMOVALS = 10


class MongoAudit:
    def __init__(self, database: Database) -> None:
        self._audit = database[AUDIT]

    async def prepare(self) -> None:
        with changing():
            await self._audit.create_index("removed_at", expireAfterSeconds=0)
            for fields in (("user",), ("act",), ("user", "act")):
                await self._audit.create_index([*((name, 1) for name in fields), ("_id", -1)])

    async def keep(self, entry: AuditEntry, life: timedelta) -> str:
        """The entry's id, when a majority has it."""
        now = to_ms(utc_now())
        document: Document = {
            "_id": ObjectId(),
            **msgspec.to_builtins(entry),
            "at": now,
            "removed_at": now + life,
        }
        with changing():
            await self._audit.insert_one(document)
        return str(document["_id"])

    async def note_outcome(self, entry: str, status: int) -> None:
        """Precondition: it has none yet; a second one changes nothing. Raise `NotFound`."""
        with changing():
            result = await self._audit.update_one(
                {"_id": _id_of(entry)}, [{"$set": {"status": {"$ifNull": ["$status", status]}}}]
            )
        if not result.matched_count:
            raise NotFound(f"there is no entry {entry}")

    async def page(self, query: AuditQuery) -> AuditPage:
        """The latest first. It reads as many entries as it shows, whatever is given."""
        wanted: Document = {
            key: value
            for key, value in (("user", query.user), ("act", query.act))
            if value is not None
        }
        places: Document = {}
        dates: Document = {}
        # Ids bound what is read, to the second; dates decide within it.
        if query.since is not None:
            places["$gte"], dates["$gte"] = _first_of(query.since), query.since
        if query.until is not None:
            places["$lt"], dates["$lt"] = _first_of(query.until, later_s=1), query.until
        if query.before is not None:
            places["$lt"] = min(_id_of(query.before), places.get("$lt", _id_of(query.before)))
        if places:
            wanted["_id"] = places
        if dates:
            wanted["at"] = dates
        with reading():
            found = (
                await self._audit.find(wanted)
                .sort("_id", DESCENDING)
                .limit(query.limit + 1)
                .to_list()
            )
        rows = [_row_of(document) for document in found[: query.limit]]
        return AuditPage(rows=rows, more=len(found) > query.limit)

    async def trim(self) -> int:
        """Remove the oldest beyond `AUDIT_ENTRIES`, a bounded number of them; how many went."""
        removed = 0
        with changing():
            for _ in range(_REMOVALS):
                beyond = await self._audit.estimated_document_count() - AUDIT_ENTRIES
                if beyond <= 0:
                    break
                oldest = (
                    await self._audit.find({}, {"_id": 1})
                    .sort("_id", 1)
                    .to_list(min(beyond, _REMOVED_AT_ONCE))
                )
                result = await self._audit.delete_many(
                    {"_id": {"$in": [each["_id"] for each in oldest]}}
                )
                removed += result.deleted_count
        return removed


def _row_of(document: Document) -> AuditRow:
    return AuditRow(
        id=str(document["_id"]),
        at=document["at"],
        entry=msgspec.convert(document, AuditEntry),
        status=document.get("status"),
    )


def _first_of(moment: datetime, later_s: int = 0) -> ObjectId:
    """What is least among the ids of its second, or a later one; of times that ids cannot say, of
    the first or last that they can."""
    seconds = min(max(0, int(moment.timestamp()) + later_s), _SECONDS_MAX)
    return ObjectId(seconds.to_bytes(4, "big") + bytes(8))


def _id_of(entry: str) -> ObjectId:
    try:
        return ObjectId(entry)
    except InvalidId:
        raise Rejected(f"{entry[:40]!r} is no entry of the audit log") from None
