"""A copy of everything, made while tasks come and end, is whole wherever it was cut."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from khala.model.access import Role
from khala.model.errors import Rejected
from khala.model.spec import Part
from khala.protocol.access import (
    AuditEntry,
    AuditQuery,
    Identify,
    MakeUser,
    NewPat,
    OpenSession,
)
from khala.store import copying
from khala.store.access_tokens import NewToken
from khala.store.codec import Database
from khala.store.mongo import MongoStore
from khala.store.parts import plan_parts, put_blob
from khala.store.schema import BLOBS, JOBS, META, TASKS, ensure_schema
from roles.judicator.scratch import mongod_on
from tests.store.samples import a_spec, a_task


async def accept(store: MongoStore, n: int) -> None:
    """A task whose input is too large for its document."""
    parts = {Part.EXECUTE_COMMAND: b"true\n", Part.EXECUTE_INPUT: bytes([n % 251]) * 300_000}
    plan = plan_parts(parts)
    for name, data in plan.apart.items():
        await put_blob(store.blobs, name, data)
    await store.tasks.insert_if_new([msgspec.structs.replace(a_task(), spec=a_spec(parts=parts))])


async def copy(source: Database, target: Database) -> dict[str, int]:
    counts = {}
    for name in copying.names_to_copy():
        counts[name] = 0
        async for batch in copying.read_all(source, name):
            assert await copying.load(target, name, copying.split(batch.data)) == batch.documents
            counts[name] += batch.documents
    await ensure_schema(target, copied=True)
    return counts


@pytest.mark.asyncio(loop_scope="session")
async def test_a_copy_made_under_load_can_be_read_and_runs(
    mongo: MongoStore, tmp_path: Path
) -> None:
    for n in range(20):
        await accept(mongo, n)
    stop = asyncio.Event()

    async def go_on() -> None:
        n = 20
        while not stop.is_set():
            await accept(mongo, n)
            n += 1

    async with mongod_on(tmp_path, None) as target:
        load = asyncio.create_task(go_on())
        counts = await copy(mongo.database, target)
        stop.set()
        await load
        assert counts[TASKS] >= 20
        await copying.read_every_task(target)
        assert await copying.schema_version(target) == await copying.schema_version(mongo.database)
        names = {index["name"] async for index in await target[TASKS].list_indexes()}
        assert {"order", "idem", "time"} <= names
        assert len(await MongoStore(target).tasks.find_queued("", 1, 0)) <= 1


@pytest.mark.asyncio(loop_scope="session")
async def test_a_copy_that_lacks_the_bytes_of_a_task_is_refused(
    mongo: MongoStore, tmp_path: Path
) -> None:
    await accept(mongo, 1)
    async with mongod_on(tmp_path, None) as target:
        await copy(mongo.database, target)
        await target["blob_chunks"].delete_many({})
        with pytest.raises(Rejected, match="damaged"):
            await copying.read_every_task(target)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_copy_with_a_document_that_is_no_task_is_refused(
    mongo: MongoStore, tmp_path: Path
) -> None:
    await accept(mongo, 1)
    async with mongod_on(tmp_path, None) as target:
        await copy(mongo.database, target)
        await target.command({"collMod": TASKS, "validator": {}})
        await target[TASKS].update_one({}, {"$set": {"spec.compile_limits": 1}})
        with pytest.raises(Rejected, match="cannot be read"):
            await copying.read_every_task(target)


def test_a_job_is_copied_before_the_members_it_counts() -> None:
    """Else it would say that members were made which the copy lacks, and they never would be."""
    names = copying.names_to_copy()
    assert names.index(JOBS) < names.index(TASKS) < names.index(BLOBS)
    assert len(set(names)) == len(names)


@pytest.mark.asyncio(loop_scope="session")
async def test_users_their_tokens_and_the_audit_log_are_copied(
    mongo: MongoStore, tmp_path: Path
) -> None:
    await mongo.prepare()
    asked = MakeUser(name="ann", role=Role.ADMIN, number=7, pat=NewPat(name="laptop", ttl_s=3600.0))
    new = NewToken(name="laptop", role=Role.ADMIN, life=timedelta(hours=1))
    _, _, token = await mongo.users.make(asked, new)
    assert token is not None
    opening = OpenSession(id=token.id, hash=token.hash, ttl_s=3600.0)
    session, _ = await mongo.access_tokens.open_session(opening)
    entry = await mongo.audit.keep(AuditEntry(act="user.create"), timedelta(days=1))
    async with mongod_on(tmp_path, None) as target:
        await copy(mongo.database, target)
        restored = MongoStore(target)
        who = await restored.access_tokens.identify(Identify(id=token.id, hash=token.hash))
        assert who.identity is not None
        assert (who.identity.name, who.identity.number) == ("ann", 7)
        closed = await restored.access_tokens.identify(Identify(id=session.id, hash=session.hash))
        assert closed.identity is None
        assert [row.id for row in (await restored.audit.page(AuditQuery())).rows] == [entry]
        numbers = await target[META].find_one({"_id": "users"})
        assert numbers is not None
        assert numbers["next"] == 8
