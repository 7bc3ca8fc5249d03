"""What a serving judicator needs to know, as it needs it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from msgspec import Struct

from khala.model.ids import JudicatorName
from khala.model.keeping import Keeping
from khala.model.quota import ToldQuotas
from khala.pki.node import NodeTls
from khala.protocol.members import Member
from roles.judicator.backups import BackupPlan


class ServeConfig(Struct, frozen=True, kw_only=True):
    """Everything the serving process is told."""

    name: JudicatorName
    cluster: str
    host: str
    port: int
    #: How the others reach this node, and its databases.
    own: Member
    #: This node may make the replica set if its MongoDB has none.
    initiate: bool
    members_file: Path
    #: This node's own first, as for etcd.
    mongodb_hosts: tuple[str, ...]
    replica_set: str
    etcd_endpoints: tuple[str, ...]
    #: What every process of a cluster without certificates shows.
    secret_file: Path
    #: This node's certificate, and how long those are valid that it signs.
    identity: NodeTls | None
    certificate_life: timedelta
    max_body_bytes: int
    backups: BackupPlan
    keeping: Keeping = Keeping()
    quotas: ToldQuotas = ToldQuotas()
    #: argv of an examination of this host.
    doctor: tuple[str, ...]
    watchdog_fd: int | None = None
