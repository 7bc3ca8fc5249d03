"""The wrapper on real members: what calls do, and how they end when members do not answer."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import Awaitable, Callable

import pytest

from khala.coordination.etcd_rpc import (
    EtcdOutcomeUnknown,
    EtcdRpc,
    EtcdUnavailable,
    KeyValue,
    LeaseGone,
)
from khala.model.errors import KhalaError
from khala.net.ports import free_ports
from tests.coord.conftest import Connect, NewCluster
from tests.coord.etcd import HOST, Cluster, Member
from tests.coord.patience import CALL_S, readable

_names = itertools.count()

DEADLINE_S = 0.6
#: What a call may take beyond its deadline on a busy machine.
SLACK_S = 0.4

READS: list[Callable[[EtcdRpc], Awaitable[object]]] = [
    lambda rpc: rpc.list_prefix("/", DEADLINE_S),
    lambda rpc: rpc.keepalive(1, DEADLINE_S),
]
CHANGES: list[Callable[[EtcdRpc], Awaitable[object]]] = [
    lambda rpc: rpc.grant(5, DEADLINE_S),
    lambda rpc: rpc.revoke(1, DEADLINE_S),
    lambda rpc: rpc.put(item("/x/put", b""), DEADLINE_S),
    lambda rpc: rpc.put_if_absent(item("/x/txn", b""), DEADLINE_S),
]


def item(key: str, value: bytes, lease: int = 0) -> KeyValue:
    return KeyValue(key=key, value=value, lease=lease)


@pytest.fixture
def prefix() -> str:
    return f"/rpc{next(_names)}/"


async def test_what_is_put_is_listed_in_order(rpc: EtcdRpc, prefix: str) -> None:
    lease = await rpc.grant(60, CALL_S)
    await rpc.put(item(prefix + "b", b"2", lease), CALL_S)
    await rpc.put(item(prefix + "a", b"\xff\x00"), CALL_S)
    await rpc.put(item(prefix[:-1] + "0/outside", b""), CALL_S)
    assert await rpc.list_prefix(prefix, CALL_S) == [
        item(prefix + "a", b"\xff\x00"),
        item(prefix + "b", b"2", lease),
    ]


async def test_only_the_first_creates_a_key(rpc: EtcdRpc, prefix: str) -> None:
    made = await asyncio.gather(
        *(rpc.put_if_absent(item(prefix + "one", str(n).encode()), CALL_S) for n in range(8))
    )
    assert sum(made) == 1
    [found] = await rpc.list_prefix(prefix, CALL_S)
    assert found.value == str(made.index(True)).encode()


async def test_only_what_hangs_on_the_lease_is_deleted(rpc: EtcdRpc, prefix: str) -> None:
    lease, other = [await rpc.grant(60, CALL_S) for _ in range(2)]
    key = prefix + "one"
    await rpc.put(KeyValue(key=key, value=b"", lease=lease), CALL_S)
    await rpc.delete_if_held(key, other, CALL_S)
    assert len(await rpc.list_prefix(prefix, CALL_S)) == 1
    await rpc.delete_if_held(key, lease, CALL_S)
    await rpc.delete_if_held(key, lease, CALL_S)
    assert await rpc.list_prefix(prefix, CALL_S) == []


async def test_keys_go_with_their_lease(rpc: EtcdRpc, prefix: str) -> None:
    lease = await rpc.grant(60, CALL_S)
    await rpc.keepalive(lease, CALL_S)
    await rpc.put(item(prefix + "leased", b"", lease), CALL_S)
    await rpc.put(item(prefix + "stays", b""), CALL_S)
    await rpc.revoke(lease, CALL_S)
    assert [found.key for found in await rpc.list_prefix(prefix, CALL_S)] == [prefix + "stays"]
    with pytest.raises(LeaseGone):
        await rpc.keepalive(lease, CALL_S)
    with pytest.raises(LeaseGone):
        await rpc.put(item(prefix + "late", b"", lease), CALL_S)
    with pytest.raises(LeaseGone):
        await rpc.put_if_absent(item(prefix + "late", b"", lease), CALL_S)
    with pytest.raises(LeaseGone):
        await rpc.revoke(lease, CALL_S)


async def test_a_lease_that_nobody_renews_expires(rpc: EtcdRpc, prefix: str) -> None:
    lease = await rpc.grant(2, CALL_S)
    await rpc.put(item(prefix + "leased", b"", lease), CALL_S)
    async with asyncio.timeout(10):
        while await rpc.list_prefix(prefix, CALL_S):
            await asyncio.sleep(0.05)
    with pytest.raises(LeaseGone):
        await rpc.keepalive(lease, CALL_S)


async def ending(call: Awaitable[object]) -> type[KhalaError]:
    """How a call fails that must not outlast its deadline."""
    began_at = time.monotonic()
    with pytest.raises(KhalaError) as caught:
        await call
    assert time.monotonic() - began_at < DEADLINE_S + SLACK_S
    return caught.type


async def test_a_member_that_hangs_costs_a_deadline(
    new_cluster: NewCluster, connect: Connect
) -> None:
    cluster = new_cluster(1)
    rpc = connect(*cluster.endpoints)
    await readable(rpc)
    cluster.members[0].pause()
    ends = await asyncio.gather(*(ending(call(rpc)) for call in READS + CHANGES))
    assert ends == [EtcdUnavailable] * len(READS) + [EtcdOutcomeUnknown] * len(CHANGES)
    cluster.members[0].resume()
    await readable(rpc)


async def test_a_member_that_is_gone_has_done_nothing(connect: Connect) -> None:
    rpc = connect(*(f"{HOST}:{port}" for port in free_ports(3)))
    for call in READS + CHANGES:
        assert await ending(call(rpc)) is EtcdUnavailable


async def test_data_survives_a_kill(new_cluster: NewCluster, connect: Connect, prefix: str) -> None:
    cluster = new_cluster(1)
    rpc = connect(*cluster.endpoints)
    await readable(rpc)
    lease = await rpc.grant(60, CALL_S)
    await rpc.put(item(prefix + "kept", b"1", lease), CALL_S)
    cluster.kill()
    cluster.start()
    await readable(rpc)
    assert await rpc.list_prefix(prefix, CALL_S) == [item(prefix + "kept", b"1", lease)]
    await rpc.keepalive(lease, CALL_S)


async def test_one_member_of_three_may_die_or_hang(
    new_cluster: NewCluster, connect: Connect, prefix: str
) -> None:
    cluster = new_cluster(3)
    rpc = connect(*cluster.endpoints)
    await readable(rpc)
    for turn, member in enumerate(cluster.members):
        member.kill()
        await _serves(rpc, prefix, turn)
        member.start()
        await readable(connect(member.endpoint))
        member.pause()
        await _serves(rpc, prefix, 10 + turn)
        member.resume()
        await readable(connect(member.endpoint))
    await _majority_lost(cluster, rpc)
    await readable(rpc)


async def _serves(rpc: EtcdRpc, prefix: str, turn: int) -> None:
    """At once, unless the leader was hit: then after etcd's own election."""
    async with asyncio.timeout(10):
        while True:
            try:
                await rpc.put(item(prefix + "turn", str(turn).encode()), 1.5)
                [found] = await rpc.list_prefix(prefix, 1.5)
            except KhalaError:
                continue
            assert found.value == str(turn).encode()
            return


async def _majority_lost(cluster: Cluster, rpc: EtcdRpc) -> None:
    for member in cluster.members[1:]:
        member.pause()
    assert await ending(READS[0](rpc)) is EtcdUnavailable
    assert await ending(CHANGES[2](rpc)) is EtcdOutcomeUnknown
    for member in cluster.members[1:]:
        member.resume()


async def test_one_stranger_among_three_is_never_believed(
    new_cluster: NewCluster, connect: Connect, etcd: Member
) -> None:
    """Two endpoints of ours, dead by then, and one of another cluster."""
    cluster = new_cluster(1)
    ours, dead = cluster.endpoints[0], f"{HOST}:{free_ports(1)[0]}"
    await readable(connect(ours))
    suspicious = connect(ours, dead, etcd.endpoint)
    await readable(suspicious)
    cluster.kill()
    for _ in range(4):
        with pytest.raises(EtcdUnavailable, match="another etcd cluster"):
            await suspicious.list_prefix("/", CALL_S)
        with pytest.raises(EtcdOutcomeUnknown, match="another etcd cluster"):
            await suspicious.put(item("/x/stray", b""), CALL_S)
    cluster.start()
    await readable(suspicious)


async def test_etcd_that_was_replaced_is_believed_at_the_second_call(
    new_cluster: NewCluster, connect: Connect
) -> None:
    cluster = new_cluster(1)
    rpc = connect(*cluster.endpoints)
    await readable(rpc)
    cluster.members[0].lose_data(cluster="another")
    cluster.start()
    await readable(connect(*cluster.endpoints))
    await _first_refused(rpc, "another etcd cluster")
    assert await rpc.list_prefix("/", CALL_S) == []


async def test_etcd_restored_from_a_backup_is_believed_at_the_second_call(
    new_cluster: NewCluster, connect: Connect
) -> None:
    """Its raft term goes back, as after the loss of all data: the cluster's id, made from names
    and addresses, stays. Among endpoints that do not answer it may be one that lags."""
    cluster = new_cluster(1)
    [member] = cluster.members
    backup = member.settings.data_dir.with_name("backup")
    rpc = connect(member.endpoint)
    careful = connect(member.endpoint, *(f"{HOST}:{port}" for port in free_ports(2)))
    await readable(rpc)
    member.kill()
    shutil.copytree(member.settings.data_dir, backup)
    for _ in range(2):  # each start is an election, and a term of its own
        member.start()
        await readable(rpc)
        await readable(careful)
        member.kill()
    shutil.rmtree(member.settings.data_dir)
    backup.rename(member.settings.data_dir)
    member.start()
    await readable(connect(member.endpoint))
    for _ in range(3):
        await _first_refused(careful, "lags behind")
    await _first_refused(rpc, "lags behind")
    assert await rpc.list_prefix("/", CALL_S) == []


async def _first_refused(rpc: EtcdRpc, why: str) -> None:
    """The first call that gets an answer; the channel may still be reconnecting."""
    async with asyncio.timeout(10):
        while True:
            with pytest.raises(EtcdUnavailable) as caught:
                await rpc.list_prefix("/", CALL_S)
            if why in caught.value.message:
                return
            await asyncio.sleep(0.05)
