"""A small typed face over the stubs that the `etcd3` package carries, on asyncio.

Only the stubs are used. The package's own client has no default time-out, no fail-over, and a
watcher that spins and leaks threads while etcd is away; polling ten keys once a second needs none
of it. What this layer adds: one deadline per call, split over the endpoints; stickiness to the
endpoint that worked; refusal of answers from a member that lags behind (`raft_term` went back)
or belongs to another cluster; and errors in Khala's three families, whatever gRPC raises.

A member that is refused may also be right: etcd was restored from a backup, or started anew with
no data. So when more than half of the endpoints disagree with what was seen before, that is
forgotten, and the next call believes what it gets. Without this a judicator that outlives its
etcd's data would never lead or be seen again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from etcd3 import etcdrpc
from msgspec import Struct

from khala.model.errors import OutcomeUnknown, Rejected, Unavailable

#: Less than this is not worth a try at another endpoint.
TRY_MIN_S = 0.3
_CHANNEL_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # etcd answers pings more often than every 5 s with GOAWAY.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
)
#: Every member would give the same answer. All else (no leader, disk full, a corrupt member) may
#: be the trouble of one member, or pass.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class EtcdUnavailable(Unavailable):
    """etcd does not answer."""


class EtcdOutcomeUnknown(OutcomeUnknown):
    """etcd may have carried the change out."""


class EtcdRejected(Rejected):
    """etcd refused the request."""


class LeaseGone(EtcdRejected):
    """The lease has expired or was revoked."""


class KeyValue(Struct, frozen=True, kw_only=True):
    key: str
    value: bytes
    lease: int


class EtcdTls(Struct, frozen=True, kw_only=True):
    """PEM, and the name that every member's certificate must have."""

    authority: bytes
    key: bytes
    certificate: bytes
    server_name: str


def _open(endpoint: str, tls: EtcdTls | None) -> Any:
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.authority, tls.key, tls.certificate)
    name = ("grpc.ssl_target_name_override", tls.server_name)
    return grpc.aio.secure_channel(endpoint, credentials, options=(*_CHANNEL_OPTIONS, name))


class EtcdRpc:
    """`endpoints` are host:port of client URLs, the local member first."""

    def __init__(self, endpoints: tuple[str, ...], tls: EtcdTls | None = None) -> None:
        self._endpoints = endpoints
        self._channels = [_open(endpoint, tls) for endpoint in endpoints]
        self._current = 0
        self._cluster_id: int | None = None
        self._highest_term = 0

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def reopen(self, endpoints: tuple[str, ...], tls: EtcdTls | None) -> None:
        """Go on with other endpoints, or with a renewed certificate: a channel keeps the one it
        was opened with for as long as it lives."""
        before = self._channels
        self._endpoints = endpoints
        self._channels = [_open(endpoint, tls) for endpoint in endpoints]
        self._current = 0
        for channel in before:
            await channel.close(grace=1.0)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self._endpoints

    @property
    def own_channel(self) -> Any:
        """To the local member, for what concerns it alone."""
        return self._channels[0]

    async def grant(self, ttl_s: int, deadline_s: float) -> int:
        """A new lease's id."""
        request = etcdrpc.LeaseGrantRequest(TTL=ttl_s)
        reply = await self.call(
            lambda channel, left: etcdrpc.LeaseStub(channel).LeaseGrant(request, timeout=left),
            deadline_s,
            changes=True,
        )
        return int(reply.ID)

    async def keepalive(self, lease: int, deadline_s: float) -> None:
        """Renew once, on a stream of its own; raise `LeaseGone` when it cannot be renewed."""
        request = etcdrpc.LeaseKeepAliveRequest(ID=lease)

        async def renew(channel: Any, left: float) -> Any:
            stream = etcdrpc.LeaseStub(channel).LeaseKeepAlive(iter((request,)), timeout=left)
            try:
                reply = await stream.read()
            finally:
                stream.cancel()
            if reply is grpc.aio.EOF:
                raise ConnectionError("an endpoint hung up without an answer")
            return reply

        reply = await self.call(renew, deadline_s, changes=False)
        if reply.TTL <= 0:
            raise LeaseGone

    async def revoke(self, lease: int, deadline_s: float) -> None:
        request = etcdrpc.LeaseRevokeRequest(ID=lease)
        await self.call(
            lambda channel, left: etcdrpc.LeaseStub(channel).LeaseRevoke(request, timeout=left),
            deadline_s,
            changes=True,
        )

    async def put(self, item: KeyValue, deadline_s: float) -> None:
        request = etcdrpc.PutRequest(key=item.key.encode(), value=item.value, lease=item.lease)
        await self.call(
            lambda channel, left: etcdrpc.KVStub(channel).Put(request, timeout=left),
            deadline_s,
            changes=True,
        )

    async def put_if_absent(self, item: KeyValue, deadline_s: float) -> bool:
        """Create the key unless it exists; whether this call created it.

        False also when an earlier try of this call did, whose answer was lost: read the key.
        """
        key = item.key.encode()
        absent = etcdrpc.Compare(
            key=key,
            target=etcdrpc.Compare.CREATE,
            result=etcdrpc.Compare.EQUAL,
            create_revision=0,
        )
        put = etcdrpc.RequestOp(
            request_put=etcdrpc.PutRequest(key=key, value=item.value, lease=item.lease)
        )
        request = etcdrpc.TxnRequest(compare=[absent], success=[put])
        reply = await self.call(
            lambda channel, left: etcdrpc.KVStub(channel).Txn(request, timeout=left),
            deadline_s,
            changes=True,
        )
        return bool(reply.succeeded)

    async def delete_if_held(self, key: str, lease: int, deadline_s: float) -> None:
        """Delete the key if it hangs on this lease; else leave it."""
        held = etcdrpc.Compare(
            key=key.encode(),
            target=etcdrpc.Compare.LEASE,
            result=etcdrpc.Compare.EQUAL,
            lease=lease,
        )
        delete = etcdrpc.RequestOp(
            request_delete_range=etcdrpc.DeleteRangeRequest(key=key.encode())
        )
        request = etcdrpc.TxnRequest(compare=[held], success=[delete])
        await self.call(
            lambda channel, left: etcdrpc.KVStub(channel).Txn(request, timeout=left),
            deadline_s,
            changes=True,
        )

    async def list_prefix(self, prefix: str, deadline_s: float) -> list[KeyValue]:
        """Linearizable read of every key below `prefix`."""
        start = prefix.encode()
        request = etcdrpc.RangeRequest(
            key=start, range_end=start[:-1] + bytes([start[-1] + 1]), limit=1000
        )
        reply = await self.call(
            lambda channel, left: etcdrpc.KVStub(channel).Range(request, timeout=left),
            deadline_s,
            changes=False,
        )
        return [
            KeyValue(key=kv.key.decode(errors="replace"), value=kv.value, lease=kv.lease)
            for kv in reply.kvs
        ]

    async def call(
        self, call: Callable[[Any, float], Awaitable[Any]], deadline_s: float, *, changes: bool
    ) -> Any:
        """Try the current endpoint, then the others, within one deadline."""
        end = time.monotonic() + deadline_s
        channels = self._channels
        tries = len(channels)
        # Its own order for each call: two that fail together must not skip an endpoint together.
        first = self._current
        maybe_done, why = False, "no endpoint answered"
        distrusted: list[str] = []
        for turn in range(tries):
            left = end - time.monotonic()
            if left <= 0:
                break
            index = (first + turn) % tries
            share = min(left, max(TRY_MIN_S, left / (tries - turn)))
            try:
                async with asyncio.timeout(share):
                    reply = await call(channels[index], share)
                self._check(reply)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise LeaseGone from error
                why = error.details() or error.code().name
                if error.code() in _REFUSALS:
                    raise EtcdRejected(f"etcd: {why}") from error
                maybe_done |= not why.startswith("failed to connect")
            except TimeoutError:
                why, maybe_done = f"no answer within {deadline_s:.3g} s", True
            except ConnectionError as error:
                why, maybe_done = str(error), True
            except _Distrusted as error:
                distrusted.append(str(error))
                maybe_done = True
            else:
                self._current = index
                return reply
        if 2 * len(distrusted) > tries:
            self._cluster_id, self._highest_term = None, 0
        # Of all reasons the one that somebody has to look into.
        why = distrusted[0] if distrusted else why
        if changes and maybe_done:
            raise EtcdOutcomeUnknown(f"etcd may or may not have done it: {why}")
        raise EtcdUnavailable(f"etcd: {why}")

    def _check(self, reply: Any) -> None:
        header = reply.header
        if self._cluster_id is None:
            self._cluster_id = header.cluster_id
        if header.cluster_id != self._cluster_id:
            raise _Distrusted("an endpoint belongs to another etcd cluster")
        if header.raft_term < self._highest_term:
            raise _Distrusted("an endpoint lags behind the cluster")
        self._highest_term = header.raft_term


class _Distrusted(Exception):
    """An answer that must not be believed."""
