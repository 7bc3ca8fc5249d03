"""The members of etcd: listed, added as learners, promoted, removed.

The stubs are of etcd 3.3, which knew no learners. What is missing in them is one flag of a request,
one field of an answer, and a method whose request looks like another one's; all three are spoken
here in the wire's own terms, which do not change.
"""

from __future__ import annotations

from etcd3 import etcdrpc
from msgspec import Struct

from khala.coordination.etcd_rpc import EtcdRejected, EtcdRpc

CALL_S = 5.0
#: Field 2 of MemberAddRequest: isLearner = true.
_AS_LEARNER = b"\x10\x01"
#: Field 5 of Member: isLearner.
_IS_LEARNER = 5


class EtcdMember(Struct, frozen=True, kw_only=True):
    id: int
    #: Empty until it has been started for the first time.
    name: str
    peer_url: str
    learner: bool


async def list_members(etcd: EtcdRpc) -> list[EtcdMember]:
    request = etcdrpc.MemberListRequest()
    reply = await etcd.call(
        lambda channel, left: etcdrpc.ClusterStub(channel).MemberList(request, timeout=left),
        CALL_S,
        changes=False,
    )
    return [
        EtcdMember(
            id=int(member.ID),
            name=member.name,
            peer_url=next(iter(member.peerURLs), ""),
            learner=any(
                field.field_number == _IS_LEARNER and field.data == 1
                for field in member.UnknownFields()
            ),
        )
        for member in reply.members
    ]


async def add_learner(etcd: EtcdRpc, peer_url: str) -> None:
    """It gets the data, but no vote: nothing depends on it before it is promoted."""
    request = etcdrpc.MemberAddRequest(peerURLs=[peer_url]).SerializeToString() + _AS_LEARNER
    await etcd.call(
        lambda channel, left: channel.unary_unary(
            "/etcdserverpb.Cluster/MemberAdd",
            request_serializer=bytes,
            response_deserializer=etcdrpc.MemberAddResponse.FromString,
        )(request, timeout=left),
        CALL_S,
        changes=True,
    )


async def promote(etcd: EtcdRpc, member: int) -> bool:
    """Give a learner its vote; False while it has not caught up."""
    request = etcdrpc.MemberRemoveRequest(ID=member)
    try:
        await etcd.call(
            lambda channel, left: channel.unary_unary(
                "/etcdserverpb.Cluster/MemberPromote",
                request_serializer=etcdrpc.MemberRemoveRequest.SerializeToString,
                response_deserializer=etcdrpc.MemberRemoveResponse.FromString,
            )(request, timeout=left),
            CALL_S,
            changes=True,
        )
    except EtcdRejected:
        return False
    return True


async def remove(etcd: EtcdRpc, member: int) -> None:
    request = etcdrpc.MemberRemoveRequest(ID=member)
    await etcd.call(
        lambda channel, left: etcdrpc.ClusterStub(channel).MemberRemove(request, timeout=left),
        CALL_S,
        changes=True,
    )
