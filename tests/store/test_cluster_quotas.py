"""What is set in the cluster of quotas, on a real mongod: one change at a time, seen by every
judicator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from msgspec.structs import replace

from khala.core.dispatch import Dispatcher
from khala.model.errors import Changed, QuotaExceeded, Rejected
from khala.model.holds import Hold
from khala.model.ids import Incarnation, JudicatorName
from khala.model.limits import QUOTA_USERS
from khala.model.quota import QUOTA, ClusterQuotas, ToldQuota, ToldQuotas
from khala.store.mongo import MongoStore
from khala.store.schema import META, TASKS, ensure_schema
from roles.judicator.quotas import Admission
from roles.judicator.quotas_in_force import QuotasInForce
from tests.sim.cost import FreeComm
from tests.store.conftest import opened
from tests.store.mongod import Mongod
from tests.store.samples import a_spec, a_task

ONE = ToldQuotas(default=ToldQuota(queued=3), users={7: ToldQuota(running=1, size_bytes=1 << 50)})


@pytest_asyncio.fixture(loop_scope="session")
async def stores(mongo: MongoStore, mongod: Mongod) -> AsyncIterator[list[MongoStore]]:
    """Of two judicators; the indexes of quotas are made by whoever needs them."""
    async with AsyncExitStack() as stack:
        yield [mongo, await stack.enter_async_context(opened(mongod.settings))]
    for name in {"quota", "spent"} & set(await mongo.database[TASKS].index_information()):
        await mongo.database[TASKS].drop_index(name)


async def door_of(store: MongoStore, hosts: ToldQuotas | None = None) -> Admission:
    """That of a judicator that starts."""
    in_force = QuotasInForce(hosts or ToldQuotas(), store.quotas, store.cluster_quotas)
    await in_force.refresh()
    dispatcher = Dispatcher(JudicatorName("j"), Incarnation("i"), store.dispatch, FreeComm())
    return Admission(in_force, store.quotas, dispatcher, lambda _: None)


async def test_what_is_set_is_read_as_it_was_and_has_a_number(stores: list[MongoStore]) -> None:
    first, second = (each.cluster_quotas for each in stores)
    assert await first.load() == ClusterQuotas()
    assert await first.replace_if_revision(0, ONE) == ClusterQuotas(revision=1, told=ONE)
    assert await second.load() == ClusterQuotas(revision=1, told=ONE)
    none = ToldQuotas(users={7: ToldQuota(running=0)})
    assert await second.replace_if_revision(1, none) == ClusterQuotas(revision=2, told=none)
    assert await first.load() == ClusterQuotas(revision=2, told=none)


async def test_of_changes_in_one_moment_one_is_made(stores: list[MongoStore]) -> None:
    for revision in range(3):
        changes = [
            stores[number % 2].cluster_quotas.replace_if_revision(
                revision, ToldQuotas(default=ToldQuota(queued=number))
            )
            for number in range(6)
        ]
        done = await asyncio.gather(*changes, return_exceptions=True)
        made = [each for each in done if isinstance(each, ClusterQuotas)]
        assert [each for each in done if isinstance(each, Changed)] == [
            each for each in done if not isinstance(each, ClusterQuotas)
        ]
        assert [await each.cluster_quotas.load() for each in stores] == made * 2


async def test_what_was_made_for_another_revision_is_refused(stores: list[MongoStore]) -> None:
    quotas = stores[0].cluster_quotas
    await quotas.replace_if_revision(0, ONE)
    for revision in (0, 2):
        with pytest.raises(Changed):
            await quotas.replace_if_revision(revision, ToldQuotas())
    assert (await quotas.load()).told == ONE


async def test_too_many_users_are_refused_by_number(stores: list[MongoStore]) -> None:
    quotas = stores[0].cluster_quotas
    most = ToldQuotas(users={user: ToldQuota(running=1) for user in range(QUOTA_USERS)})
    await quotas.replace_if_revision(0, most)
    more = ToldQuotas(users={**most.users, QUOTA_USERS: ToldQuota(running=1)})
    with pytest.raises(Rejected, match="for 1000 users, these are 1001") as raised:
        await quotas.replace_if_revision(1, more)
    assert raised.value.field == "/quotas/users"


async def test_the_schema_is_what_it_was(stores: list[MongoStore]) -> None:
    """It stands where an older Khala finds what it looks for, and leaves the rest."""
    before = await stores[0].database[META].find_one({"_id": "schema"})
    await stores[0].cluster_quotas.replace_if_revision(0, ONE)
    await ensure_schema(stores[0].database)
    assert await stores[0].database[META].find_one({"_id": "schema"}) == before


async def test_every_judicator_goes_by_it_and_makes_the_indexes_before(
    stores: list[MongoStore],
) -> None:
    doors = [await door_of(each) for each in stores]
    assert "quota" not in await stores[0].database[TASKS].index_information()
    await stores[0].cluster_quotas.replace_if_revision(0, ToldQuotas(default=ToldQuota(queued=1)))
    for door in doors:
        async with door.admitted(7, 2, None):
            pass
        await door.in_force.refresh()
    assert {"quota", "spent"} < set(await stores[0].database[TASKS].index_information())
    for door in doors:
        with pytest.raises(QuotaExceeded, match=r"khala\.pex quota set 7 --queued"):
            async with door.admitted(7, 2, None):
                pass
    again = await door_of(stores[1])
    with pytest.raises(QuotaExceeded, match="may have 1 tasks waiting"):
        async with again.admitted(7, 2, None):
            pass


async def test_a_running_bound_that_is_removed_lets_go_of_what_it_held(
    stores: list[MongoStore],
) -> None:
    """Also where the judicator that held it is gone, and another user has a bound still."""
    store = stores[0]
    others = {8: ToldQuota(running=1)}
    await store.cluster_quotas.replace_if_revision(
        0, ToldQuotas(users={7: ToldQuota(running=1), **others})
    )
    door = await door_of(store)
    assert door.hold(a_spec()) == Hold(keys=(QUOTA,))
    held = [replace(a_task(7), hold=door.hold(a_spec())) for _ in range(3)]
    for task in held:
        await store.dispatch.accept(task)
    await door.lifting.lift(7)
    assert len(await store.quotas.find_waiting(7, 9)) == 2
    await store.cluster_quotas.replace_if_revision(1, ToldQuotas(users=others))
    door = await door_of(stores[1])
    assert await store.quotas.find_users() == [7]
    await door.lifting.lift(7)
    assert await store.quotas.find_waiting(7, 9) == []
    assert door.hold(a_spec()) is None


async def test_all_bounds_that_are_removed_let_go_of_what_they_held(
    stores: list[MongoStore],
) -> None:
    store = stores[0]
    for _ in range(3):
        await store.dispatch.accept(replace(a_task(7), hold=Hold(keys=(QUOTA,))))
    await store.cluster_quotas.replace_if_revision(0, ONE)
    await store.cluster_quotas.replace_if_revision(1, ToldQuotas())
    await (await door_of(store)).lifting.release()
    assert await store.holds.find_held(QUOTA, 9) == []
