"""Registry and election on a real etcd: who is seen, who leads, and never two at once."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec
import pytest
from structlog.testing import capture_logs

from khala.coordination import membership as membership_module
from khala.coordination.etcd_rpc import EtcdRpc, KeyValue
from khala.coordination.membership import CALL_S, Entry, Identity, Membership
from khala.model.errors import Unavailable
from khala.model.ids import Incarnation, JudicatorName, Term
from khala.model.limits import LEADER_TTL_S
from tests.coord.conftest import Connect, NewCluster
from tests.coord.patience import readable, until

_clusters = itertools.count()
SLACK_S = 2.0
#: The rules do not depend on the pace; `test_takeover` keeps the real one.
POLL_S = 0.2
RENEW_S = 0.25
#: Nobody of ours writes such things.
STRANGE = {
    "judicators/strange-bytes": b"\xff{",
    "judicators/strange-json": b'{"address": 1}',
    "strange": b"\xff{",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership_module, "POLL_S", POLL_S)
    monkeypatch.setattr(membership_module, "RENEW_S", RENEW_S)


class Terms:
    """The counter that MongoDB keeps in real life."""

    def __init__(self) -> None:
        self.taken = 0

    async def take(self) -> Term:
        self.taken += 1
        return Term(self.taken)


class Judicators:
    """Members of one cluster, each in a task of its own."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.cluster = f"c{next(_clusters)}"
        self.terms = Terms()
        self._stack = stack

    @property
    def prefix(self) -> str:
        return f"/khala/{self.cluster}/"

    async def join(
        self,
        etcd: EtcdRpc,
        name: str,
        take_term: Callable[[], Awaitable[Term]] | None = None,
        life: str = "1",
        fit: Callable[[], bool] = lambda: True,
    ) -> tuple[Membership, asyncio.Task[None]]:
        entry = Entry(address=f"{name}:4000", incarnation=Incarnation(f"{name}-{life}"))
        identity = Identity(cluster=self.cluster, name=JudicatorName(name), entry=entry)
        membership = Membership(etcd, identity, take_term or self.terms.take, fit)
        running = asyncio.create_task(membership.run())
        self._stack.push_async_callback(ended, running)
        return membership, running


async def ended(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled(), running.exception()


@pytest.fixture
async def judicators() -> AsyncIterator[Judicators]:
    async with AsyncExitStack() as stack:
        yield Judicators(stack)


def leads(membership: Membership) -> Callable[[], bool]:
    return lambda: membership.term() is not None


def sees(membership: Membership, *incarnations: str) -> Callable[[], bool]:
    return lambda: membership.alive() == set(incarnations)


async def test_all_are_seen_and_one_leads(rpc: EtcdRpc, judicators: Judicators) -> None:
    members = [(await judicators.join(rpc, name))[0] for name in "abc"]
    for member in members:
        await until(sees(member, "a-1", "b-1", "c-1"))
    await until(lambda: any(member.term() == 1 for member in members))
    leader = next(member for member in members if member.term() is not None)
    for member in members:
        await until(lambda: [r.leader for r in member.judicators()].count(True) == 1)  # noqa: B023
        assert [(r.name, r.address) for r in member.judicators()] == [
            (name, f"{name}:4000") for name in "abc"
        ]
    marked = next(record.name for record in leader.judicators() if record.leader)
    assert members["abc".index(marked)] is leader
    assert judicators.terms.taken == 1


async def test_who_leaves_is_replaced_at_once(rpc: EtcdRpc, judicators: Judicators) -> None:
    first, running = await judicators.join(rpc, "first")
    await until(leads(first))
    second, _ = await judicators.join(rpc, "second")
    await until(sees(second, "first-1", "second-1"))
    began_at = time.monotonic()
    await ended(running)
    assert first.term() is None
    await until(lambda: second.term() == 2)
    assert time.monotonic() - began_at < POLL_S + SLACK_S < LEADER_TTL_S
    assert second.alive() == {"second-1"}


async def test_a_new_life_takes_its_entry_over(rpc: EtcdRpc, judicators: Judicators) -> None:
    """After kill -9 the entry of the last life is still there; that is no name taken twice."""
    entry = msgspec.json.encode(Entry(address="a:4000", incarnation=Incarnation("a-0")))
    lease = await rpc.grant(60, CALL_S)
    await rpc.put(KeyValue(key=f"{judicators.prefix}judicators/a", value=entry, lease=lease), 5.0)
    with capture_logs() as logs:
        reborn, _ = await judicators.join(rpc, "a")
        await until(sees(reborn, "a-1"))
        await rpc.revoke(lease, CALL_S)
        await until(leads(reborn))
        assert sees(reborn, "a-1")()
    assert not [line for line in logs if line["log_level"] == "warning"]


async def test_a_name_taken_twice_is_told(rpc: EtcdRpc, judicators: Judicators) -> None:
    with capture_logs() as logs:
        first, _ = await judicators.join(rpc, "same")
        await until(sees(first, "same-1"))
        await judicators.join(rpc, "same", life="2")
        await until(lambda: "membership.name_taken" in {line["event"] for line in logs})
    told = [line["why"] for line in logs if line["event"] == "membership.name_taken"]
    assert told == ["same:4000 calls itself same too; give each its own --name"]


async def test_a_lost_lease_costs_the_term(rpc: EtcdRpc, judicators: Judicators) -> None:
    only, _ = await judicators.join(rpc, "only")
    await until(lambda: only.term() == 1 and sees(only, "only-1")())
    [leader] = await rpc.list_prefix(f"{judicators.prefix}leader", CALL_S)
    await rpc.revoke(leader.lease, CALL_S)
    began_at = time.monotonic()
    await until(lambda: only.term() != 1)
    assert time.monotonic() - began_at < RENEW_S + SLACK_S
    await until(lambda: only.term() == 2 and sees(only, "only-1")())


async def test_a_lease_found_lost_costs_the_term_before_the_directory_tells(
    rpc: EtcdRpc, judicators: Judicators, monkeypatch: pytest.MonkeyPatch
) -> None:
    only, _ = await judicators.join(rpc, "only")
    await until(leads(only))
    monkeypatch.setattr(membership_module, "POLL_S", 60.0)
    await asyncio.sleep(2 * POLL_S)
    [leader] = await rpc.list_prefix(f"{judicators.prefix}leader", CALL_S)
    await rpc.revoke(leader.lease, CALL_S)
    await until(lambda: only.term() is None, within_s=RENEW_S + SLACK_S)


async def test_a_leader_whose_claim_was_replaced_steps_down(
    rpc: EtcdRpc, judicators: Judicators
) -> None:
    """Its lease lives on, and proves nothing any more."""
    only, _ = await judicators.join(rpc, "only")
    await until(leads(only))
    lease = await rpc.grant(60, CALL_S)
    await rpc.put(KeyValue(key=f"{judicators.prefix}leader", value=b"?", lease=lease), CALL_S)
    await until(lambda: only.term() is None)
    await asyncio.sleep(RENEW_S + 2 * POLL_S)
    assert only.term() is None
    await rpc.revoke(lease, CALL_S)
    await until(lambda: only.term() == 2)


async def test_an_entry_that_vanishes_comes_back(rpc: EtcdRpc, judicators: Judicators) -> None:
    """A late write under a lease that ends takes the entry along."""
    only, _ = await judicators.join(rpc, "only")
    await until(lambda: only.term() == 1 and sees(only, "only-1")())
    key = f"{judicators.prefix}judicators/only"
    [entry] = await rpc.list_prefix(key, CALL_S)
    lease = await rpc.grant(60, CALL_S)
    await rpc.put(KeyValue(key=key, value=entry.value, lease=lease), CALL_S)
    await rpc.revoke(lease, CALL_S)
    assert await rpc.list_prefix(key, CALL_S) == []
    await until(lambda: only.alive() == set())
    await until(sees(only, "only-1"))
    assert await rpc.list_prefix(key, CALL_S) == [entry]
    assert only.term() == 1


async def test_an_entry_that_cannot_be_read_stops_only_conclusions(
    rpc: EtcdRpc, judicators: Judicators
) -> None:
    only, _ = await judicators.join(rpc, "only")
    await until(lambda: only.term() == 1 and sees(only, "only-1")())
    lease = await rpc.grant(60, CALL_S)
    with capture_logs() as logs:
        for key, value in STRANGE.items():
            foreign = KeyValue(key=judicators.prefix + key, value=value, lease=lease)
            await rpc.put(foreign, CALL_S)
        await until(lambda: only.alive() is None)
        await asyncio.sleep(3 * POLL_S)
        assert [record.name for record in only.judicators()] == ["only"]
        await rpc.revoke(lease, CALL_S)
        await until(sees(only, "only-1"))
    told = [line["why"] for line in logs if line["event"] == "membership.entry_unreadable"]
    assert len(told) == 2 == len(set(told))
    assert all(f"{judicators.prefix}judicators/strange-" in why for why in told)
    assert only.term() == 1


async def test_nobody_leads_without_a_term(rpc: EtcdRpc, judicators: Judicators) -> None:
    refusals = 2

    async def take() -> Term:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise Unavailable
        return await judicators.terms.take()

    only, _ = await judicators.join(rpc, "only", take)
    await until(lambda: refusals == 0)
    assert only.term() is None
    await until(lambda: only.term() == 1)


async def test_who_gets_no_term_leaves_the_claim_to_others(
    rpc: EtcdRpc, judicators: Judicators
) -> None:
    asked = 0

    async def refuse() -> Term:
        nonlocal asked
        asked += 1
        raise Unavailable

    sick, _ = await judicators.join(rpc, "sick", refuse)
    await until(lambda: asked > 0)
    well, _ = await judicators.join(rpc, "well")
    await until(leads(well))
    assert sick.term() is None
    [leader] = await rpc.list_prefix(f"{judicators.prefix}leader", CALL_S)
    assert leader.value == b"well"


async def test_a_lease_lost_while_the_term_is_taken_makes_no_leader(
    rpc: EtcdRpc, judicators: Judicators
) -> None:
    """The term comes late: by then there is another lease, which proves nothing about it."""

    async def take() -> Term:
        term = await judicators.terms.take()
        if term == 1:
            [leader] = await rpc.list_prefix(f"{judicators.prefix}leader", CALL_S)
            await rpc.revoke(leader.lease, CALL_S)
            async with asyncio.timeout(10):
                while not await rpc.list_prefix(f"{judicators.prefix}judicators/", CALL_S):
                    await asyncio.sleep(0.01)
        return term

    only, _ = await judicators.join(rpc, "only", take)
    terms: list[Term] = []
    async with asyncio.timeout(20):
        while not terms:
            terms += [term] if (term := only.term()) is not None else []
            await asyncio.sleep(0)
    assert terms == [2]


async def test_etcd_may_come_late(
    new_cluster: NewCluster, connect: Connect, judicators: Judicators
) -> None:
    cluster = new_cluster(1)
    cluster.kill()
    only, running = await judicators.join(connect(*cluster.endpoints), "only")
    await asyncio.sleep(5 * POLL_S)
    assert not running.done() and only.term() is None and only.alive() is None
    cluster.start()
    await until(lambda: only.term() == 1 and sees(only, "only-1")())


async def test_etcd_restarted_with_its_data_changes_no_leader(
    new_cluster: NewCluster, connect: Connect, judicators: Judicators
) -> None:
    cluster = new_cluster(1)
    only, _ = await judicators.join(connect(*cluster.endpoints), "only")
    await until(leads(only))
    with capture_logs() as logs:
        cluster.kill()
        await until(lambda: "membership.not_renewed" in {line["event"] for line in logs})
        cluster.start()
        await until(lambda: "membership.renewed_again" in {line["event"] for line in logs})
    await until(lambda: only.term() is not None and sees(only, "only-1")())
    assert only.term() == 1 and judicators.terms.taken == 1


async def test_etcd_restarted_empty_is_filled_again(
    new_cluster: NewCluster, connect: Connect, judicators: Judicators
) -> None:
    """Also when its raft term has gone back, which looks like a member that lags."""
    cluster = new_cluster(1)
    await readable(connect(*cluster.endpoints))
    cluster.kill()
    cluster.start()
    rpc = connect(*cluster.endpoints)
    members = [(await judicators.join(rpc, name))[0] for name in "ab"]
    for member in members:
        await until(sees(member, "a-1", "b-1"))
    await until(lambda: any(member.term() == 1 for member in members))
    cluster.members[0].lose_data()
    cluster.start()
    await until(lambda: any(member.term() == 2 for member in members))
    for member in members:
        await until(sees(member, "a-1", "b-1"))
    assert [member.term() for member in members].count(None) == 1


async def test_a_member_of_etcd_may_die_unnoticed(
    new_cluster: NewCluster, connect: Connect, judicators: Judicators
) -> None:
    cluster = new_cluster(3)
    rpc = connect(*cluster.endpoints)
    await readable(rpc)
    only, _ = await judicators.join(rpc, "only")
    await until(lambda: only.term() == 1)
    for member in cluster.members:
        member.kill()
        await asyncio.sleep(LEADER_TTL_S / 3)
        member.start()
        await readable(connect(member.endpoint))
    await until(lambda: only.term() is not None)
    assert only.term() == 1 and judicators.terms.taken == 1


async def test_who_waits_for_a_term_in_vain_leaves_the_claim_to_others(
    rpc: EtcdRpc, judicators: Judicators, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is renewed all the while, so etcd will not take the claim from it."""
    monkeypatch.setattr("khala.coordination.membership.TERM_S", 0.5)
    asked = asyncio.Event()

    async def hang() -> Term:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    sick, _ = await judicators.join(rpc, "sick", hang)
    await asked.wait()
    well, _ = await judicators.join(rpc, "well")
    await until(leads(well))
    assert sick.term() is None
