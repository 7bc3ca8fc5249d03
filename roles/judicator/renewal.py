"""A judicator's own certificate in use: for its databases, and renewed without a restart.

etcd reads the file for each connection. MongoDB is told to (`rotateCertificates`), the driver's and
our own TLS contexts are loaded again, and the channels to etcd are opened anew. Connections that
are open stay open, so no task and no session notices.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import structlog
from msgspec import Struct

from khala.coordination.etcd_rpc import EtcdRpc, EtcdTls
from khala.model.dates import utc_now
from khala.model.errors import KhalaError
from khala.net.joining import WATCH_S
from khala.pki.local import issue
from khala.pki.node import SERVER_NAME, NodeTls
from khala.store.client import (
    MongoSettings,
    MongoTls,
    rotate_certificate,
    use_renewed_certificate,
)
from khala.store.codec import Database

log = structlog.get_logger()


def etcd_tls(identity: NodeTls) -> EtcdTls:
    key, certificate = identity.read_node()
    return EtcdTls(
        authority=identity.authority_file.read_bytes(),
        key=key,
        certificate=certificate,
        server_name=SERVER_NAME,
    )


def mongo_tls(identity: NodeTls) -> MongoTls:
    return MongoTls(node=str(identity.node_file), authority=str(identity.authority_file))


def mongo_settings(
    hosts: tuple[str, ...], replica_set: str, identity: NodeTls | None
) -> MongoSettings:
    """How a judicator logs in to its databases."""
    if identity is None:
        return MongoSettings(hosts=hosts, replica_set=replica_set)
    return MongoSettings(
        hosts=hosts,
        replica_set=replica_set,
        key=identity.mongodb_key_file.read_text("ascii"),
        tls=mongo_tls(identity),
    )


class Renewal(Struct, kw_only=True):
    identity: NodeTls
    life: timedelta
    etcd: EtcdRpc
    database: Database
    #: Its first host is this node's own member.
    mongo: MongoSettings

    async def run(self) -> None:
        """Until cancelled. What fails is tried again: the old certificate has a third of its life
        left."""
        used = True
        while True:
            known = self.identity.certificate
            life_s = (known.expires_at - known.issued_at).total_seconds()
            await asyncio.sleep(min(WATCH_S, life_s / 10))
            try:
                if utc_now() >= known.renew_at:
                    self._sign()
                    used = False
                if self.identity.refresh() or not used:
                    used = await self._use()
            except (KhalaError, OSError) as error:
                log.warning("certificate.not_renewed", why=str(error))

    def _sign(self) -> None:
        known, now = self.identity.certificate, utc_now()
        wanted = msgspec.structs.replace(known, issued_at=now, expires_at=now + self.life)
        issue(self.identity, self.identity, wanted)
        log.info("certificate.renewed", expires_at=(now + self.life).isoformat())

    async def _use(self) -> bool:
        use_renewed_certificate(self.database, mongo_tls(self.identity))
        await self.etcd.reopen(self.etcd.endpoints, etcd_tls(self.identity))
        await rotate_certificate(self.mongo)
        return True
