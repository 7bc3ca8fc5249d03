"""What is set in the cluster, quotas and what is kept, on a real mongod: one change at a time, seen
by every judicator, and no word forgotten that still binds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
import pytest_asyncio
from bson import Int64
from msgspec.structs import replace

from khala.core.dispatch import Dispatcher
from khala.model.cluster_settings import ClusterSettings
from khala.model.dates import utc_now
from khala.model.errors import Changed, NotPossible, QuotaExceeded, Rejected
from khala.model.holds import Hold
from khala.model.ids import Incarnation, JudicatorName
from khala.model.keeping import (
    EARLIER_WORDS,
    NOTICE,
    ClusterKeeping,
    Earlier,
    Keeping,
    ToldKeeping,
    ToldRetention,
)
from khala.model.limits import QUOTA_USERS
from khala.model.quota import QUOTA, ToldQuota, ToldQuotas
from khala.model.retention import Retention
from khala.store.mongo import MongoStore
from khala.store.schema import META, TASKS, ensure_schema
from roles.judicator.keeping_in_force import KeepingInForce
from roles.judicator.metrics import Metrics
from roles.judicator.quotas import Admission
from roles.judicator.quotas_in_force import QuotasInForce
from roles.judicator.retention import Retaining
from tests.sim.cost import FreeComm
from tests.store.conftest import opened
from tests.store.mongod import Mongod
from tests.store.samples import a_spec, a_task
from tests.store.test_retention import ended

ONE = ToldQuotas(default=ToldQuota(queued=3), users={7: ToldQuota(running=1, size_bytes=1 << 50)})

NOTHING = ToldKeeping()
LONG = ToldKeeping(
    retention=ToldRetention(age_s=86400.0, count=0, size_bytes=1 << 50), audit_s=1e9, backups_kept=9
)

SHORT = ToldKeeping(
    retention=ToldRetention(age_s=3600.0, count=1, size_bytes=1), audit_s=1e6, backups_kept=1
)


def age(hours: float) -> ToldKeeping:
    return ToldKeeping(retention=ToldRetention(age_s=hours * 3600))


@pytest_asyncio.fixture(loop_scope="session")
async def stores(mongo: MongoStore, mongod: Mongod) -> AsyncIterator[list[MongoStore]]:
    """Of two judicators; the indexes of quotas are made by whoever needs them."""
    async with AsyncExitStack() as stack:
        yield [mongo, await stack.enter_async_context(opened(mongod.settings))]
    for name in {"quota", "spent"} & set(await mongo.database[TASKS].index_information()):
        await mongo.database[TASKS].drop_index(name)


async def door_of(store: MongoStore, hosts: ToldQuotas | None = None) -> Admission:
    """That of a judicator that starts."""
    quotas = QuotasInForce(hosts or ToldQuotas(), store.quotas)
    await quotas.follow(await store.cluster_settings.load())
    dispatcher = Dispatcher(JudicatorName("j"), Incarnation("i"), store.dispatch, FreeComm())
    return Admission(quotas, store.quotas, dispatcher, lambda _: None)


async def test_what_is_set_is_read_as_it_was_and_has_a_number(stores: list[MongoStore]) -> None:
    first, second = (each.cluster_settings for each in stores)
    assert await first.load() == ClusterSettings()
    assert await first.replace_if_revision(0, ONE, NOTHING) == ClusterSettings(
        revision=1, quotas=ONE
    )
    assert await second.load() == ClusterSettings(revision=1, quotas=ONE)
    none = ToldQuotas(users={7: ToldQuota(running=0)})
    assert await second.replace_if_revision(1, none, NOTHING) == ClusterSettings(
        revision=2, quotas=none
    )
    assert await first.load() == ClusterSettings(revision=2, quotas=none)


async def test_of_changes_in_one_moment_one_is_made(stores: list[MongoStore]) -> None:
    for revision in range(3):
        changes = [
            stores[number % 2].cluster_settings.replace_if_revision(
                revision, ToldQuotas(default=ToldQuota(queued=number)), NOTHING
            )
            for number in range(6)
        ]
        done = await asyncio.gather(*changes, return_exceptions=True)
        made = [each for each in done if isinstance(each, ClusterSettings)]
        assert [each for each in done if isinstance(each, Changed)] == [
            each for each in done if not isinstance(each, ClusterSettings)
        ]
        assert [await each.cluster_settings.load() for each in stores] == made * 2


async def test_what_was_made_for_another_revision_is_refused(stores: list[MongoStore]) -> None:
    quotas = stores[0].cluster_settings
    await quotas.replace_if_revision(0, ONE, NOTHING)
    for revision in (0, 2):
        with pytest.raises(Changed):
            await quotas.replace_if_revision(revision, ToldQuotas(), NOTHING)
    assert (await quotas.load()).quotas == ONE


async def test_what_is_kept_is_read_with_every_word_that_binds(stores: list[MongoStore]) -> None:
    first, second = (each.cluster_settings for each in stores)
    made = await first.replace_if_revision(0, ONE, LONG)
    assert made.keeping.told == LONG
    assert [each.told for each in made.keeping.earlier] == [NOTHING]
    shorter = await second.replace_if_revision(1, ONE, SHORT)
    assert shorter == await first.load()
    changed_at = shorter.keeping.changed_at
    assert changed_at is not None
    assert shorter.keeping.earlier[1:] == (Earlier(told=LONG, until=changed_at + NOTICE),)
    back = await first.replace_if_revision(2, ToldQuotas(), LONG)
    assert await second.load() == back
    # That which kept less meanwhile binds nobody, and nothing was said of quotas.
    assert [each.told for each in back.keeping.earlier] == [NOTHING]
    assert back.quotas == ToldQuotas()


async def test_words_whose_day_is_over_go_with_the_next_change(
    stores: list[MongoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = stores[0].cluster_settings
    for revision, hours in enumerate((3, 2, 1)):
        await settings.replace_if_revision(revision, ONE, age(hours))
    later = utc_now() + NOTICE
    monkeypatch.setattr("khala.store.cluster_settings.utc_now", lambda: later)
    done = await settings.replace_if_revision(3, ONE, age(4))
    assert done.keeping == ClusterKeeping(told=age(4), changed_at=later)
    assert (await settings.load()).keeping == done.keeping


async def test_a_change_of_quotas_alone_is_none_of_what_is_kept(stores: list[MongoStore]) -> None:
    settings = stores[0].cluster_settings
    known = await settings.replace_if_revision(0, ONE, LONG)
    following = await settings.replace_if_revision(1, ToldQuotas(), LONG)
    assert following.keeping == known.keeping


async def test_whoever_knows_quotas_alone_replaces_no_more(stores: list[MongoStore]) -> None:
    """A judicator of an older version, while others are renewed."""
    settings = stores[0].cluster_settings
    known = await settings.replace_if_revision(0, ONE, LONG)
    by_older = {"$set": {"revision": Int64(2), "told": {"default": {"queued": 4}}}}
    await stores[0].database[META].update_one({"_id": "quotas", "revision": 1}, by_older)
    found = await settings.load()
    assert (found.revision, found.keeping) == (2, known.keeping)
    assert found.quotas.default.queued == 4
    await stores[0].database[META].update_one({"_id": "quotas"}, {"$unset": {"keeping": ""}})
    assert (await settings.load()).keeping == ClusterKeeping()


async def test_too_many_changes_in_a_day_are_refused_and_more_is_always_possible(
    stores: list[MongoStore],
) -> None:
    settings = stores[0].cluster_settings
    for n in range(EARLIER_WORDS):
        await settings.replace_if_revision(n, ONE, age(100 - n))
    with pytest.raises(NotPossible, match="20 earlier words still bind") as raised:
        await settings.replace_if_revision(EARLIER_WORDS, ONE, age(2))
    assert raised.value.field == "/keeping"
    done = await settings.replace_if_revision(EARLIER_WORDS, ONE, age(100))
    assert [each.told for each in done.keeping.earlier] == [NOTHING]


async def test_rounds_go_by_the_clusters_word_while_its_notice_runs(
    stores: list[MongoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host says an hour; what is set is a week, and then a day."""
    store, settings = stores[0], stores[1].cluster_settings
    now = utc_now()
    for hours in (2, 30, 24 * 8):
        await ended(store, now - timedelta(hours=hours))
    kept = KeepingInForce(Keeping(retention=Retention(age_s=3600.0)))
    retaining = Retaining(kept.retention, store.retention, Metrics(JudicatorName("a")))
    assert (await retaining.forget()).tasks == 0  # nothing was read yet
    await settings.replace_if_revision(0, ToldQuotas(), age(24 * 7))
    kept.follow((await store.cluster_settings.load()).keeping, utc_now())
    assert (await retaining.forget()).tasks == 1
    await settings.replace_if_revision(1, ToldQuotas(), age(24))
    for passed, gone in ((timedelta(0), 0), (NOTICE, 1)):
        read_at = utc_now() + passed
        monkeypatch.setattr("roles.judicator.keeping_in_force.utc_now", lambda at=read_at: at)
        kept.follow((await store.cluster_settings.load()).keeping, read_at)
        assert (await retaining.forget(dry_run=True)).tasks == gone


async def test_too_many_users_are_refused_by_number(stores: list[MongoStore]) -> None:
    quotas = stores[0].cluster_settings
    most = ToldQuotas(users={user: ToldQuota(running=1) for user in range(QUOTA_USERS)})
    await quotas.replace_if_revision(0, most, NOTHING)
    more = ToldQuotas(users={**most.users, QUOTA_USERS: ToldQuota(running=1)})
    with pytest.raises(Rejected, match="for 1000 users, these are 1001") as raised:
        await quotas.replace_if_revision(1, more, NOTHING)
    assert raised.value.field == "/quotas/users"


async def test_the_schema_is_what_it_was(stores: list[MongoStore]) -> None:
    """It stands where an older Khala finds what it looks for, and leaves the rest."""
    before = await stores[0].database[META].find_one({"_id": "schema"})
    await stores[0].cluster_settings.replace_if_revision(0, ONE, NOTHING)
    await ensure_schema(stores[0].database)
    assert await stores[0].database[META].find_one({"_id": "schema"}) == before


async def test_every_judicator_goes_by_it_and_makes_the_indexes_before(
    stores: list[MongoStore],
) -> None:
    doors = [await door_of(each) for each in stores]
    assert "quota" not in await stores[0].database[TASKS].index_information()
    await stores[0].cluster_settings.replace_if_revision(
        0, ToldQuotas(default=ToldQuota(queued=1)), NOTHING
    )
    for door in doors:
        async with door.admitted(7, 2, None):
            pass
        await door.in_force.follow(await stores[1].cluster_settings.load())
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
    await store.cluster_settings.replace_if_revision(
        0, ToldQuotas(users={7: ToldQuota(running=1), **others}), NOTHING
    )
    door = await door_of(store)
    assert door.hold(a_spec()) == Hold(keys=(QUOTA,))
    held = [replace(a_task(7), hold=door.hold(a_spec())) for _ in range(3)]
    for task in held:
        await store.dispatch.accept(task)
    await door.lifting.lift(7)
    assert len(await store.quotas.find_waiting(7, 9)) == 2
    await store.cluster_settings.replace_if_revision(1, ToldQuotas(users=others), NOTHING)
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
    await store.cluster_settings.replace_if_revision(0, ONE, NOTHING)
    await store.cluster_settings.replace_if_revision(1, ToldQuotas(), NOTHING)
    await (await door_of(store)).lifting.release()
    assert await store.holds.find_held(QUOTA, 9) == []
