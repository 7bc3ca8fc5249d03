"""The last examination of each node, by its name and its role."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from bson import Binary

from khala.protocol.doctor import Examination, Report
from khala.store.codec import Database
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, reading
from khala.store.schema import EXAMINATIONS

#: As long as an executor that is lost is listed.
_LIFE = timedelta(days=7)
_reports = msgspec.msgpack.Decoder(Report)


class MongoExaminations:
    def __init__(self, database: Database) -> None:
        self._examinations = database[EXAMINATIONS]

    async def prepare(self) -> None:
        with changing():
            life_s = int(_LIFE.total_seconds())
            await self._examinations.create_index("at", expireAfterSeconds=life_s)

    async def keep(self, name: str, role: str, report: Report) -> None:
        """It takes the place of the one before."""
        key = {"name": name, "role": role}
        document = {
            "_id": key,
            "at": to_ms(utc_now()),
            "report": Binary(msgspec.msgpack.encode(report)),
        }
        with changing():
            await self._examinations.replace_one({"_id": key}, document, upsert=True)

    async def of(self, name: str) -> list[Examination]:
        """Those of all roles of that name, by role."""
        keys = {"$gte": {"name": name, "role": ""}, "$lt": {"name": name, "role": "\x7f"}}
        with reading():
            documents = await self._examinations.find({"_id": keys}).sort("_id", 1).to_list()
        return [
            Examination(
                role=document["_id"]["role"],
                at=document["at"],
                report=_reports.decode(document["report"]),
            )
            for document in documents
        ]
