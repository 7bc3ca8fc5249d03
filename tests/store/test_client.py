"""Making a replica set and logging in, on real members."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from khala.model.errors import OutcomeUnknown, Unavailable
from khala.model.ids import JudicatorName
from khala.net.ports import free_ports
from khala.store.client import MongoSettings, connect, database_of, ensure_replica_set
from khala.store.schema import ensure_schema
from tests.store.conftest import opened
from tests.store.mongod import Mongod

KEY = "QWxsIHlvdXIgYmFzZSBhcmUgYmVsb25nIHRvIHVzLg\n"


async def test_a_set_with_a_key_admits_only_its_holders(tmp_path: Path) -> None:
    mongod = Mongod(tmp_path, key=KEY)
    mongod.start()
    try:
        await asyncio.gather(mongod.ready(), mongod.ready())
        await mongod.ready()
        async with opened(mongod.settings) as store:
            await ensure_schema(store.database)
            await store.sessions.pulse(JudicatorName("j1"))
        for key in (None, "d3Jvbmcga2V5"):
            async with opened(replace(mongod.settings, key=key)) as stranger:
                with pytest.raises((Unavailable, OutcomeUnknown)):
                    await stranger.sessions.pulse(JudicatorName("j1"))
                with pytest.raises(Unavailable):
                    await stranger.tasks.counts()
        with pytest.raises(Unavailable, match="does not accept this node's key"):
            await ensure_replica_set(replace(mongod.settings, key="d3Jvbmcga2V5"))
        with pytest.raises(Unavailable, match="belongs to the set 'khala'"):
            await ensure_replica_set(replace(mongod.settings, replica_set="other"))
    finally:
        mongod.kill()


async def test_waiting_for_a_member_that_is_not_there_ends() -> None:
    started = time.monotonic()
    nobody = MongoSettings(hosts=(f"127.0.0.1:{free_ports(1)[0]}",))
    with pytest.raises(Unavailable, match="does not listen in time"):
        await ensure_replica_set(nobody, deadline_s=0.5)
    assert time.monotonic() - started < 5


async def test_a_uri_cannot_weaken_the_promises(mongod: Mongod) -> None:
    await mongod.ready()
    uri = f"mongodb://{mongod.host}/?replicaSet=khala&w=1&journal=false&readConcernLevel=local"
    client = connect(MongoSettings(uri=uri))
    try:
        database = database_of(client)
        assert database.write_concern.document == {"w": "majority", "j": True}
        assert database.read_concern.level == "majority"
        assert database["tasks"].write_concern == database.write_concern
    finally:
        await client.close()
