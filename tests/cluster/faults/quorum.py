"""What the judicators are to each other: who leads, whose mongod is the primary, what etcd says."""

from __future__ import annotations

import contextlib
import re
import ssl
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import msgspec
from etcd3 import etcdrpc

from khala.model.errors import KhalaError
from khala.net.joining import request
from khala.pki.node import JUDICATOR, NodeTls
from khala.protocol.members import MemberView, Roster, Standing
from roles.judicator.renewal import etcd_tls
from tests.cluster.faults.service import Service
from tests.cluster.harness import wait_until

RPC, ETCD = 4000, 2001


def probe(judicator: Service, path: str) -> bool:
    """Whether a judicator itself says so; no certificate is needed to ask."""
    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    url = f"https://{judicator.host.address}:{RPC}{path}"
    try:
        with urllib.request.urlopen(url, timeout=2, context=stranger) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Quorum:
    def __init__(self, judicators: list[Service]) -> None:
        self._judicators = judicators

    def members(self) -> list[MemberView]:
        """What `cluster members` shows, of whichever judicator answers; asked as it asks, without
        the start of a process for each of many looks."""
        for judicator in self._judicators:
            address = f"{judicator.host.address}:{RPC}"
            with contextlib.suppress(KhalaError):
                tls = NodeTls(judicator.data, JUDICATOR).client
                answer = request(address, "GET", "/rpc/v1/members", tls, b"")
                return msgspec.msgpack.decode(answer, type=Roster).members
        return []

    def settled(self) -> bool:
        members = self.members()
        return len(members) == len(self._judicators) and all(
            each.member.standing == Standing.MEMBER
            and each.etcd == "voter"
            and each.mongodb in {"primary", "secondary"}
            for each in members
        )

    def primary(self) -> Service:
        """The judicator whose mongod is the primary."""

        def found() -> Service | None:
            primaries = {
                each.member.name for each in self.members() if each.mongodb.startswith("primary")
            }
            return next((each for each in self._judicators if each.name in primaries), None)

        primary: Service = wait_until(found, 240, "there is a primary")
        return primary

    def leader(self) -> Service | None:
        leading = (each for each in self._judicators if probe(each, "/leader"))
        return next(leading, None)

    def terms(self) -> list[tuple[str, int]]:
        """Who has led, and in which term, as each of them wrote it down."""
        return [
            (judicator.name, int(term))
            for judicator in self._judicators
            for term in re.findall(r"leader\.elected\W.*?term\W+(\d+)", judicator.log())
        ]

    def etcd_alarms(self, judicator: Service) -> list[Any]:
        with _etcd(judicator) as member:
            return list(member.Alarm(etcdrpc.AlarmRequest(), timeout=10).alarms)

    def raise_no_space(self, judicator: Service) -> None:
        """What a member does that has used up its quota: from then on every write is refused."""
        with _etcd(judicator) as member:
            alarm = etcdrpc.AlarmRequest(
                action=etcdrpc.AlarmRequest.ACTIVATE,
                memberID=member.Status(etcdrpc.StatusRequest(), timeout=10).header.member_id,
                alarm=etcdrpc.NOSPACE,
            )
            member.Alarm(alarm, timeout=10)


@contextlib.contextmanager
def _etcd(judicator: Service) -> Iterator[Any]:
    """Maintenance of the member there, with the certificate of its judicator."""
    tls = etcd_tls(NodeTls(judicator.data, JUDICATOR))
    credentials = grpc.ssl_channel_credentials(tls.authority, tls.key, tls.certificate)
    name = ("grpc.ssl_target_name_override", tls.server_name)
    address = f"{judicator.host.address}:{ETCD}"
    with grpc.secure_channel(address, credentials, options=(name,)) as channel:
        yield etcdrpc.MaintenanceStub(channel)
