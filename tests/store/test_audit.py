"""The audit log: noted before, completed once, read by pages, and bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from bson import ObjectId

from khala.model.errors import NotFound, Rejected
from khala.protocol.access import AuditEntry, AuditQuery
from khala.store import audit
from khala.store.mongo import MongoStore
from khala.store.schema import AUDIT

LIFE = timedelta(days=400)


@pytest_asyncio.fixture(loop_scope="session")
async def store(mongo: MongoStore) -> MongoStore:
    await mongo.audit.prepare()
    return mongo


async def keep(store: MongoStore, act: str, user: str | None = None) -> str:
    return await store.audit.keep(AuditEntry(act=act, user=user, via="g1"), LIFE)


async def shown(store: MongoStore, **query: object) -> list[tuple[str, str | None]]:
    page = await store.audit.page(AuditQuery(**query))  # type: ignore[arg-type]
    return [(row.entry.act, row.entry.user) for row in page.rows]


async def test_an_entry_says_nothing_of_an_end_that_nobody_told(store: MongoStore) -> None:
    entry = AuditEntry(
        act="node.drain",
        target="exec-07",
        detail="reason: a new disk",
        user="ann",
        known_by="session",
        token="0123456789ab",
        address="10.0.0.7",
        via="gateway.1",
        request_id="5f0c2ad91e7b4c68",
    )
    kept = await store.audit.keep(entry, LIFE)
    (row,) = (await store.audit.page(AuditQuery())).rows
    assert (row.id, row.entry, row.status) == (kept, entry, None)
    assert abs(datetime.now(UTC) - row.at) < timedelta(minutes=10)
    await store.audit.note_outcome(kept, 200)
    # What was said first stands.
    await store.audit.note_outcome(kept, 503)
    (row,) = (await store.audit.page(AuditQuery())).rows
    assert (row.entry, row.status) == (entry, 200)
    with pytest.raises(NotFound):
        await store.audit.note_outcome(str(ObjectId()), 200)
    with pytest.raises(Rejected, match="'x' is no entry"):
        await store.audit.note_outcome("x", 200)


async def test_pages_go_back_in_time(store: MongoStore) -> None:
    for n in range(5):
        await keep(store, f"act.{n}", "ann" if n % 2 else None)
    first = await store.audit.page(AuditQuery(limit=2))
    assert [row.entry.act for row in first.rows] == ["act.4", "act.3"]
    assert first.more
    second = await store.audit.page(AuditQuery(limit=3, before=first.rows[-1].id))
    assert [row.entry.act for row in second.rows] == ["act.2", "act.1", "act.0"]
    assert not second.more
    assert await shown(store, user="ann") == [("act.3", "ann"), ("act.1", "ann")]
    assert await shown(store, act="act.2") == [("act.2", None)]
    assert await shown(store, act="act.2", user="ann") == []


async def test_a_span_of_time(store: MongoStore) -> None:
    await keep(store, "now")
    now, day = datetime.now(UTC), timedelta(days=1)
    assert await shown(store, since=now - day, until=now + day) == [("now", None)]
    assert await shown(store, since=now + day) == []
    assert await shown(store, until=now - day) == []
    assert await shown(store, until=now - day, before=str(ObjectId())) == []


async def test_a_span_is_exact_and_may_be_any(store: MongoStore) -> None:
    await keep(store, "act.0")
    ((act, _),) = await shown(store)
    (row,) = (await store.audit.page(AuditQuery())).rows
    moment = timedelta(milliseconds=1)
    assert await shown(store, since=row.at) == [(act, None)]
    assert await shown(store, since=row.at + moment) == []
    assert await shown(store, until=row.at) == []
    assert await shown(store, until=row.at + moment) == [(act, None)]
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert await shown(store, since=first, until=last) == [(act, None)]
    assert await shown(store, since=last) == []
    assert await shown(store, until=first) == []


async def test_a_page_costs_what_it_shows(store: MongoStore) -> None:
    documents = [
        {"act": f"act.{n % 10}", "user": f"user{n // 10 % 2}", "at": datetime.now(UTC)}
        for n in range(2000)
    ]
    await store.database[AUDIT].insert_many(documents)
    # What somebody did once, long ago.
    await store.database[AUDIT].insert_one(
        {"_id": ObjectId(bytes(12)), "act": "act.once", "user": "user1", "at": datetime.now(UTC)}
    )
    both = [{"user": "user1", "act": act} for act in ("act.3", "act.once")]
    for wanted in ({}, {"user": "user1"}, {"act": "act.3"}, *both):
        plan = await store.database.command(
            {
                "explain": {"find": AUDIT, "filter": wanted, "sort": {"_id": -1}, "limit": 11},
                "verbosity": "executionStats",
            }
        )
        stats = plan["executionStats"]
        assert max(stats["totalDocsExamined"], stats["totalKeysExamined"]) <= 11, wanted
        assert stats["nReturned"] == (1 if wanted.get("act") == "act.once" else 11)


async def test_beyond_the_bound_the_oldest_go(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "AUDIT_ENTRIES", 10)
    monkeypatch.setattr(audit, "_REMOVED_AT_ONCE", 8)
    monkeypatch.setattr(audit, "_REMOVALS", 3)
    for n in range(40):
        await keep(store, f"act.{n}")
    assert [await store.audit.trim() for _ in range(3)] == [24, 6, 0]
    assert [act for act, _ in await shown(store, limit=100)] == [
        f"act.{n}" for n in range(39, 29, -1)
    ]
