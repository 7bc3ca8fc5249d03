"""Which quotas a judicator goes by, while what is set in the cluster changes."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from khala.model.errors import Unavailable
from khala.model.quota import ClusterQuotas, Quota, Quotas, ToldQuota, ToldQuotas, in_force
from khala.store.cluster_quotas import MongoClusterQuotas
from khala.store.quotas import MongoQuotas
from roles.judicator.quotas_in_force import QuotasInForce

HOSTS = ToldQuotas(
    default=ToldQuota(queued=100, running=0),
    users={7: ToldQuota(running=4), 8: ToldQuota(queued=0)},
)


class Store:
    """What is set, and the indexes."""

    def __init__(self) -> None:
        self.set = ClusterQuotas()
        self.down = False
        self.prepared = 0
        self.built = asyncio.Event()
        self.built.set()

    async def load(self) -> ClusterQuotas:
        if self.down:
            raise Unavailable("down")
        return self.set

    async def prepare(self) -> None:
        await self.built.wait()
        self.prepared += 1

    def change(self, told: ToldQuotas) -> None:
        self.set = ClusterQuotas(revision=self.set.revision + 1, told=told)


def quotas_of(store: Store, hosts: ToldQuotas | None = None) -> QuotasInForce:
    return QuotasInForce(
        hosts or ToldQuotas(), cast(MongoQuotas, store), cast(MongoClusterQuotas, store)
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
    quotas = quotas_of(store, HOSTS)
    await quotas.refresh()
    assert (quotas.revision, quotas.of(7).running, store.prepared) == (0, 4, 1)
    store.change(ToldQuotas(users={7: ToldQuota(running=9)}))
    assert quotas.of(7).running == 4
    await quotas.refresh()
    assert (quotas.revision, quotas.of(7).running) == (1, 9)
    assert quotas.of_host.of(7).running == 4
    store.change(ToldQuotas())
    await quotas.refresh()
    assert (quotas.revision, quotas.of(7).running, store.prepared) == (2, 4, 1)


async def test_what_is_known_holds_while_the_store_is_silent() -> None:
    store = Store()
    store.change(ToldQuotas(default=ToldQuota(queued=3)))
    quotas = quotas_of(store)
    await quotas.refresh()
    store.down = True
    with pytest.raises(Unavailable):
        await quotas.refresh()
    assert quotas.of(1).queued == 3


async def test_a_judicator_that_cannot_read_it_does_not_begin() -> None:
    store = Store()
    store.down = True
    with pytest.raises(Unavailable):
        await quotas_of(store).refresh()


async def test_indexes_are_made_for_the_first_quota_before_it_is_believed() -> None:
    store = Store()
    quotas = quotas_of(store)
    await quotas.refresh()
    assert not store.prepared
    store.built.clear()
    store.change(ToldQuotas(default=ToldQuota(running=1)))
    looking = asyncio.ensure_future(quotas.refresh())
    for _ in range(3):
        await asyncio.sleep(0)
    assert (quotas.revision, quotas.now.on) == (0, False)
    store.built.set()
    await looking
    assert (quotas.revision, quotas.now.on, store.prepared) == (1, True, 1)


async def test_it_looks_again_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    quotas = quotas_of(store)
    await quotas.refresh()
    naps = 0

    async def nap(_: float) -> None:
        nonlocal naps
        naps += 1
        store.down = naps == 1
        if naps == 3:
            store.change(ToldQuotas(default=ToldQuota(queued=1)))
        if naps == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr("roles.judicator.quotas_in_force.asyncio.sleep", nap)
    with pytest.raises(asyncio.CancelledError):
        await quotas.run()
    assert quotas.revision == 1
