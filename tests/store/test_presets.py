"""Presets on a real mongod."""

from __future__ import annotations

import pytest

from khala.model.errors import NotFound, Rejected
from khala.protocol.presets import PutPreset
from khala.store import presets
from khala.store.mongo import MongoStore


async def test_a_preset_is_made_replaced_and_removed(mongo: MongoStore) -> None:
    made = await mongo.presets.put("cpp", PutPreset(description="C++", task=b"{}"))
    assert await mongo.presets.get("cpp") == made
    later = await mongo.presets.put("cpp", PutPreset(task=b'{"name":"x"}'))
    await mongo.presets.put("ada", PutPreset(task=b"{}"))
    assert [each.name for each in await mongo.presets.list()] == ["ada", "cpp"]
    assert await mongo.presets.remove("cpp") == later
    assert (later.description, later.task) == ("", b'{"name":"x"}')
    for call in (mongo.presets.get, mongo.presets.remove):
        with pytest.raises(NotFound, match="'cpp'"):
            await call("cpp")


async def test_there_are_not_more_than_may_be(
    mongo: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "PRESETS", 2)
    for name in ("a", "b", "b"):
        await mongo.presets.put(name, PutPreset(task=b"{}"))
    with pytest.raises(Rejected, match="there are 2 presets"):
        await mongo.presets.put("c", PutPreset(task=b"{}"))
