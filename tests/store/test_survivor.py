"""A member that was killed becomes the only one of its set, with everything that it had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from khala.model.errors import Rejected
from khala.net.ports import free_ports
from khala.store.client import connect, database_of
from khala.store.codec import Document
from khala.store.survivor import make_only_member
from roles.judicator.scratch import mongod_on
from tests.store.mongod import Mongod, mongod_binary, temporary_directory

BEFORE, AFTER = 50, 500


@pytest.fixture
def member() -> Iterator[Mongod]:
    with temporary_directory() as directory:
        server = Mongod(Path(directory))
        yield server
        if server.running:
            server.kill()


async def set_of_three(member: Mongod, **fields: object) -> None:
    """The configuration gets two more members, which do not exist: no majority from here on."""
    others = [
        {"_id": number, "host": f"127.0.0.1:{port}", **fields}
        for number, port in zip((7, 8), free_ports(2), strict=True)
    ]
    async with mongod_on(member.directory / "data", mongod_binary()) as database:
        local = database.client.get_database("local")
        await local["system.replset"].update_one({}, {"$push": {"members": {"$each": others}}})


@pytest_asyncio.fixture
async def stuck(member: Mongod) -> AsyncIterator[Mongod]:
    """Killed in the middle: what came after its last checkpoint is in its log of operations."""
    member.start()
    await member.ready()
    client = connect(member.settings)
    tasks = database_of(client)["tasks"]
    await tasks.insert_many([{"_id": number} for number in range(BEFORE)])
    await client.admin.command("fsync")
    await tasks.insert_many([{"_id": number} for number in range(BEFORE, AFTER)])
    await client.close()
    member.kill()
    yield member


@pytest.mark.asyncio
async def test_it_has_what_it_had_and_newer_numbers_than_any_other(stuck: Mongod) -> None:
    await set_of_three(stuck)
    stuck.start()
    stuck.kill()
    async with mongod_on(stuck.directory / "data", mongod_binary()) as database:
        before = await _config(database.client)
        survivor = await make_only_member(database, stuck.host)
        again = await make_only_member(database, stuck.host)
        assert again.newest == survivor.newest is not None
        assert survivor.replica_set == "khala"
    stuck.start()
    await stuck.ready()
    client = connect(stuck.settings)
    try:
        config = (await client.admin.command("replSetGetConfig"))["config"]
        assert [each["host"] for each in config["members"]] == [stuck.host]
        assert config["version"] > before["version"]
        assert config["term"] > before["term"] + 1000
        assert await database_of(client)["tasks"].count_documents({}) == AFTER
        await database_of(client)["tasks"].insert_one({"_id": "it takes writes"})
    finally:
        await client.close()


@pytest.mark.asyncio
async def test_data_of_another_member_is_not_taken_for_this_ones(stuck: Mongod) -> None:
    async with mongod_on(stuck.directory / "data", mongod_binary()) as database:
        with pytest.raises(Rejected, match=r"and 10\.0\.0\.9:3000 is none of them"):
            await make_only_member(database, "10.0.0.9:3000")


@pytest.mark.asyncio
async def test_a_member_without_a_vote_is_refused(stuck: Mongod) -> None:
    await set_of_three(stuck, votes=0, priority=0)
    async with mongod_on(stuck.directory / "data", mongod_binary()) as database:
        local = database.client.get_database("local")
        config: Document = await local["system.replset"].find_one({}) or {}
        other = config["members"][1]["host"]
        with pytest.raises(Rejected, match="had no vote yet"):
            await make_only_member(database, other)


async def _config(client: object) -> Document:
    local = client.get_database("local")  # type: ignore[attr-defined]
    found: Document = await local["system.replset"].find_one({})
    return found
