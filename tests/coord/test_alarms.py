"""etcd's alarms: space is made without anybody's help, a corrupt member is only named."""

from __future__ import annotations

import pytest
from etcd3 import etcdrpc

from khala.coordination.etcd_care import Alarm, EtcdCare
from khala.coordination.etcd_rpc import EtcdRpc, EtcdUnavailable, KeyValue
from khala.model.errors import KhalaError
from tests.coord.conftest import Connect, NewCluster
from tests.coord.patience import readable

SMALL_BYTES = 8 << 20
A_LOT = bytes(512 << 10)


async def fill(rpc: EtcdRpc) -> None:
    """Write the same key until etcd refuses: all of it is history."""
    for _ in range(100):
        try:
            await put(rpc)
        except KhalaError:
            return
    raise AssertionError("etcd took more than its quota")


async def put(rpc: EtcdRpc) -> None:
    await rpc.put(KeyValue(key="/khala/history", value=A_LOT, lease=0), 5)


async def test_space_is_made_and_the_alarm_lifted(
    new_cluster: NewCluster, connect: Connect
) -> None:
    cluster = new_cluster(1, SMALL_BYTES)
    rpc = connect(*cluster.endpoints)
    await readable(rpc)
    care = EtcdCare(rpc)
    await care.look()
    assert care.alarms == frozenset()
    await fill(rpc)
    await care.look()
    assert care.alarms == {Alarm.NO_SPACE}
    assert "no space" in care.sentences()[0]
    await put(rpc)
    await care.look()
    assert care.sentences() == []


async def test_a_corrupt_member_is_named_and_left_alone(
    new_cluster: NewCluster, connect: Connect
) -> None:
    cluster = new_cluster(3)
    ours, theirs = (connect(member.endpoint) for member in cluster.members[:2])
    await readable(ours)
    await readable(theirs)
    care, other = EtcdCare(ours), EtcdCare(theirs)
    stub = etcdrpc.MaintenanceStub(ours.own_channel)
    status = await stub.Status(etcdrpc.StatusRequest())
    raise_it = etcdrpc.AlarmRequest(
        action=etcdrpc.AlarmRequest.ACTIVATE,
        memberID=status.header.member_id,
        alarm=etcdrpc.CORRUPT,
    )
    await stub.Alarm(raise_it)
    await care.look()
    await other.look()
    assert care.corrupt
    assert not other.corrupt
    await care.look()
    assert care.corrupt


async def test_a_member_that_does_not_answer_has_raised_nothing(
    new_cluster: NewCluster, connect: Connect
) -> None:
    cluster = new_cluster(1)
    rpc = connect(*cluster.endpoints)
    await readable(rpc)
    cluster.kill()
    care = EtcdCare(rpc)
    with pytest.raises(EtcdUnavailable):
        await care.look()
    assert care.alarms == frozenset()
