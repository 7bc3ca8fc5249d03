"""What a judicator goes by, while what is set in the cluster changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from msgspec.structs import replace

from khala.model.cluster_settings import ClusterSettings
from khala.model.errors import Unavailable
from khala.model.keeping import (
    EVERYTHING,
    NOTICE,
    ClusterKeeping,
    Keeping,
    ToldKeeping,
    ToldRetention,
    replaced,
)
from khala.model.quota import Quota, Quotas, ToldQuota, ToldQuotas, in_force
from khala.model.retention import Retention
from khala.net.loop import end_all
from khala.store.cluster_settings import MongoClusterSettings
from khala.store.quotas import MongoQuotas
from roles.judicator.keeping_in_force import KNOWN, KeepingInForce
from roles.judicator.quotas_in_force import QuotasInForce
from roles.judicator.settings_in_force import SettingsInForce

HOSTS = ToldQuotas(
    default=ToldQuota(queued=100, running=0),
    users={7: ToldQuota(running=4), 8: ToldQuota(queued=0)},
)

HOSTS_KEEP = Keeping(retention=Retention(age_s=3600.0), audit_s=86400.0, backups_kept=2)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Store:
    """What is set, and the indexes."""

    def __init__(self) -> None:
        self.set = ClusterSettings()
        self.down = False
        self.refused = 0
        self.prepared = 0
        self.built = asyncio.Event()
        self.built.set()

    async def load(self) -> ClusterSettings:
        if self.down:
            self.refused += 1
            raise Unavailable("down")
        return self.set

    async def prepare(self) -> None:
        await self.built.wait()
        self.prepared += 1

    def change(self, told: ToldQuotas) -> None:
        self.set = replace(self.set, revision=self.set.revision + 1, quotas=told)

    def keep(self, told: ToldKeeping) -> None:
        keeping = ClusterKeeping(told=told)
        self.set = replace(self.set, revision=self.set.revision + 1, keeping=keeping)


def settings_of(store: Store, hosts: ToldQuotas | None = None) -> SettingsInForce:
    return SettingsInForce(
        cast(MongoClusterSettings, store),
        QuotasInForce(hosts or ToldQuotas(), cast(MongoQuotas, store)),
        KeepingInForce(HOSTS_KEEP),
    )


def test_what_is_said_of_a_user_goes_first_and_then_the_clusters_word() -> None:
    assert in_force(HOSTS) == Quotas(
        default=Quota(queued=100),
        users={7: Quota(queued=100, running=4), 8: Quota()},
    )
    cluster = ToldQuotas(
        default=ToldQuota(queued=500, cpu_s=60),
        users={7: ToldQuota(cpu_s=0), 9: ToldQuota(running=1)},
    )
    assert in_force(HOSTS, cluster) == Quotas(
        default=Quota(queued=500, cpu_s=60),
        users={
            7: Quota(queued=500, running=4),
            8: Quota(cpu_s=60),
            9: Quota(queued=500, running=1, cpu_s=60),
        },
    )
    assert not in_force(ToldQuotas(), ToldQuotas(users={7: ToldQuota(queued=0)})).on


async def test_a_change_is_followed_and_a_removal_leaves_the_hosts_word() -> None:
    store = Store()
    settings = settings_of(store, HOSTS)
    quotas = settings.quotas
    await settings.refresh()
    assert (quotas.revision, quotas.of(7).running, store.prepared) == (0, 4, 1)
    store.change(ToldQuotas(users={7: ToldQuota(running=9)}))
    assert quotas.of(7).running == 4
    await settings.refresh()
    assert (quotas.revision, quotas.of(7).running) == (1, 9)
    assert quotas.of_host.of(7).running == 4
    store.change(ToldQuotas())
    await settings.refresh()
    assert (quotas.revision, quotas.of(7).running, store.prepared) == (2, 4, 1)


async def test_what_is_known_holds_while_the_store_is_silent() -> None:
    store = Store()
    store.change(ToldQuotas(default=ToldQuota(queued=3)))
    settings = settings_of(store)
    quotas = settings.quotas
    await settings.refresh()
    store.down = True
    with pytest.raises(Unavailable):
        await settings.refresh()
    assert quotas.of(1).queued == 3


async def test_a_judicator_that_cannot_read_it_does_not_begin() -> None:
    store = Store()
    store.down = True
    with pytest.raises(Unavailable):
        await settings_of(store).refresh()


async def test_indexes_are_made_for_the_first_quota_before_it_is_believed() -> None:
    store = Store()
    settings = settings_of(store)
    quotas = settings.quotas
    await settings.refresh()
    assert not store.prepared
    store.built.clear()
    store.change(ToldQuotas(default=ToldQuota(running=1)))
    looking = asyncio.ensure_future(settings.refresh())
    for _ in range(3):
        await asyncio.sleep(0)
    assert (quotas.revision, quotas.now.on) == (0, False)
    store.built.set()
    await looking
    assert (quotas.revision, quotas.now.on, store.prepared) == (1, True, 1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
async def looking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Store, SettingsInForce]]:
    """Again at each turn of the loop, in the place of each second."""
    monkeypatch.setattr("roles.judicator.settings_in_force.SETTINGS_READ_S", 0)
    store = Store()
    settings = settings_of(store)
    await settings.refresh()
    tasks = [asyncio.create_task(settings.keep_looking())]
    tasks.append(asyncio.create_task(settings.keep_following()))
    yield store, settings
    await end_all(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_it_looks_again_after_a_failure(looking: tuple[Store, SettingsInForce]) -> None:
    store, settings = looking
    store.down = True
    await until(lambda: store.refused > 1)
    store.change(ToldQuotas(default=ToldQuota(queued=1)))
    store.down = False
    await until(lambda: settings.quotas.revision == 1)


async def test_what_is_kept_does_not_wait_for_indexes_of_quotas(
    looking: tuple[Store, SettingsInForce],
) -> None:
    store, settings = looking
    store.built.clear()
    store.change(ToldQuotas(default=ToldQuota(running=1)))
    store.keep(ToldKeeping(retention=ToldRetention(age_s=0), backups_kept=9))
    await until(lambda: settings.keeping.backups_kept() == 9)
    assert settings.keeping.retention() == Retention()
    assert (settings.quotas.revision, store.prepared) == (0, 0)
    store.built.set()
    await until(lambda: settings.quotas.revision == 2)


async def test_nothing_goes_before_the_clusters_word_was_read() -> None:
    """It may be more than the host's."""
    store = Store()
    store.keep(ToldKeeping(retention=ToldRetention(age_s=0), backups_kept=9))
    settings = settings_of(store)
    store.down = True
    with pytest.raises(Unavailable):
        await settings.refresh()
    assert settings.keeping.now == EVERYTHING
    store.down = False
    await settings.refresh()
    assert settings.keeping.now == replace(HOSTS_KEEP, retention=Retention(), backups_kept=9)
    assert settings.keeping.audit_life() == timedelta(days=1)
    store.down = True
    with pytest.raises(Unavailable):
        await settings.refresh()
    assert settings.keeping.backups_kept() == 9


def test_nothing_goes_by_a_word_that_was_read_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stood still does not know whether more is to be kept meanwhile."""
    keeping = KeepingInForce(HOSTS_KEEP)
    monkeypatch.setattr("roles.judicator.keeping_in_force.utc_now", lambda: NOON)
    keeping.follow(ClusterKeeping(), NOON - KNOWN)
    assert (keeping.retention(), keeping.backups_kept()) == (HOSTS_KEEP.retention, 2)
    for read_at in (NOON - KNOWN - SECOND, NOON + KNOWN + SECOND):
        keeping.follow(ClusterKeeping(), read_at)
        assert keeping.retention() == Retention()
        assert keeping.backups_kept() == EVERYTHING.backups_kept
        assert keeping.audit_life() == timedelta(days=1)


def test_a_notice_ends_when_the_word_was_read_after_it() -> None:
    keeping = KeepingInForce(HOSTS_KEEP)
    more = ClusterKeeping(told=ToldKeeping(backups_kept=9))
    keeping.follow(more, NOON)
    less = replaced(more, ToldKeeping(backups_kept=1), NOON)
    for passed, kept in ((timedelta(0), 9), (NOTICE - SECOND, 9), (NOTICE, 1)):
        keeping.follow(less, NOON + passed)
        assert keeping.now.backups_kept == kept
