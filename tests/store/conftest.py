"""One mongod for the whole run, and every shared case on it and on the dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from khala.store.client import MongoSettings, connect, database_of
from khala.store.codec import Document
from khala.store.memory import MemoryStore
from khala.store.mongo import MongoStore
from khala.store.schema import (
    ACCESS_SESSIONS,
    ACCESS_TICKETS,
    ACCESS_TOKENS,
    AUDIT,
    BLOB_CHUNKS,
    BLOBS,
    EXECUTORS,
    JOBS,
    LEAVING,
    LIVE,
    META,
    OUTPUTS,
    PAYLOADS,
    PRESETS,
    QUOTA_TURNS,
    STATISTICS,
    TASKS,
    UPLOADERS,
    UPLOADS,
    USERS,
    ensure_schema,
)
from tests.store.mongod import Mongod, temporary_directory

Store = MemoryStore | MongoStore
ACCESS = (USERS, ACCESS_TOKENS, ACCESS_SESSIONS, ACCESS_TICKETS, AUDIT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A driver that is closed while it connects leaves the socket to the garbage collector, which
    may come in any later test."""
    unclosed = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(unclosed)


@pytest.fixture(scope="session")
def mongod() -> Iterator[Mongod]:
    with temporary_directory() as directory:
        server = Mongod(Path(directory))
        server.start()
        yield server
        if server.running:
            server.kill()


@asynccontextmanager
async def opened(settings: MongoSettings) -> AsyncIterator[MongoStore]:
    """A store as a Judicator has it: own client, running committer."""
    client = connect(settings)
    store = MongoStore(database_of(client))
    serving = asyncio.create_task(store.committer.run())
    try:
        yield store
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await client.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(mongod: Mongod) -> AsyncIterator[MongoStore]:
    await mongod.ready()
    async with opened(mongod.settings) as store:
        await ensure_schema(store.database)
        yield store


@pytest_asyncio.fixture(loop_scope="session")
async def mongo(shared: MongoStore) -> MongoStore:
    """The real store, empty."""
    of_tasks = (TASKS, PAYLOADS, OUTPUTS, LIVE, BLOBS, BLOB_CHUNKS, JOBS)
    others = (EXECUTORS, LEAVING, PRESETS, QUOTA_TURNS, STATISTICS, UPLOADS, UPLOADERS, *ACCESS)
    for name in (*of_tasks, *others):
        await shared.database[name].delete_many({})
    await shared.database[META].delete_many({"_id": {"$ne": "schema"}})
    return shared


@pytest.fixture(params=["memory", "mongo"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    store: MongoStore = request.getfixturevalue("mongo")
    return store


@pytest_asyncio.fixture(loop_scope="session")
async def judicators(store: Store, mongod: Mongod) -> AsyncIterator[list[Store]]:
    """Three stores on the same data, as three Judicators have them."""
    if isinstance(store, MemoryStore):
        yield [store] * 3
        return
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(opened(mongod.settings)) for _ in range(2)]
        yield [store, *others]


@asynccontextmanager
async def failing(store: MongoStore, times: int, data: Document) -> AsyncIterator[None]:
    """Let mongod's own fail point spoil the next `times` commands named in `data`."""
    admin = store.database.client.admin
    await admin.command(
        {"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data}
    )
    try:
        yield
    finally:
        await admin.command({"configureFailPoint": "failCommand", "mode": "off"})
