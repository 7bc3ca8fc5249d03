"""Presets, one document each, found by their names."""

from __future__ import annotations

from bson import Binary

from khala.model.errors import NotFound, Rejected
from khala.model.limits import PRESETS
from khala.protocol.presets import Preset, PutPreset
from khala.store.codec import Database, Document
from khala.store.dates import to_ms, utc_now
from khala.store.failures import changing, reading
from khala.store.schema import PRESETS as COLLECTION


class MongoPresets:
    def __init__(self, database: Database) -> None:
        self._presets = database[COLLECTION]

    async def list(self) -> list[Preset]:
        """By name."""
        with reading():
            documents = await self._presets.find().sort("_id", 1).to_list()
        return [_preset_of(document) for document in documents]

    async def get(self, name: str) -> Preset:
        """Raise `NotFound`."""
        with reading():
            document = await self._presets.find_one({"_id": name})
        if document is None:
            raise _unknown(name)
        return _preset_of(document)

    async def put(self, name: str, given: PutPreset) -> Preset:
        """Make it, or replace what it is. Raise `Rejected` if there are too many."""
        with reading():
            others = await self._presets.count_documents({"_id": {"$ne": name}}, limit=PRESETS)
        if others >= PRESETS:
            raise Rejected(
                f"name: there are {PRESETS} presets, the most that there may be; remove some with"
                " DELETE /api/v2/presets/NAME",
                field="name",
            )
        document: Document = {
            "_id": name,
            "description": given.description,
            "task": Binary(given.task),
            "updated_at": to_ms(utc_now()),
        }
        with changing():
            await self._presets.replace_one({"_id": name}, document, upsert=True)
        return _preset_of(document)

    async def remove(self, name: str) -> Preset:
        """What it said. Raise `NotFound`."""
        with changing():
            document = await self._presets.find_one_and_delete({"_id": name})
        if document is None:
            raise _unknown(name)
        return _preset_of(document)


def _preset_of(document: Document) -> Preset:
    return Preset(
        name=document["_id"],
        description=document["description"],
        task=bytes(document["task"]),
        updated_at=document["updated_at"],
    )


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no preset {name[:80]!r}; GET /api/v2/presets shows them")
