"""Settings into a serving process."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from khala.config.settings import Settings
from khala.model.ids import JudicatorName
from khala.model.keeping import Keeping
from khala.pki.node import JUDICATOR, NodeTls
from khala.supervise.datadir import has_joined, load_node
from roles.belonging import MEMBERS_FILE, read_members
from roles.command import command
from roles.examining import examiner
from roles.judicator import serve
from roles.judicator.backups import BackupPlan
from roles.judicator.config import ServeConfig
from roles.judicator.founding import member_of


def run(settings: Settings, cluster: str, watchdog_fd: int | None) -> int:
    """Serve until SIGTERM; the exit code."""
    data_dir = Path(settings.data_dir)
    identity = NodeTls(data_dir, JUDICATOR)
    own = member_of(settings, load_node(data_dir, settings.name).epoch)
    # This node's own databases first; the others', should these be down.
    others = [each for each in read_members(data_dir) if each.name != own.name]
    etcd_own = f"{settings.local}:{settings.etcd.client_port}"
    return serve.run(
        ServeConfig(
            name=JudicatorName(settings.name),
            cluster=cluster,
            host=settings.bind,
            port=settings.rpc.port,
            own=own,
            initiate=not has_joined(data_dir),
            members_file=data_dir / MEMBERS_FILE,
            mongodb_hosts=(own.mongodb, *(each.mongodb for each in others)),
            replica_set=settings.mongodb.replica_set,
            etcd_endpoints=(etcd_own, *(each.etcd_client for each in others)),
            secret_file=Path(settings.secret_file),
            identity=identity if identity.exists else None,
            certificate_life=timedelta(seconds=settings.certificate_life),
            max_body_bytes=settings.gateway.max_body,
            backups=_backups(settings, data_dir),
            keeping=_keeping(settings),
            quotas=settings.quota.policy,
            doctor=examiner(JUDICATOR, settings),
            watchdog_fd=watchdog_fd,
        )
    )


def _backups(settings: Settings, data_dir: Path) -> BackupPlan:
    return BackupPlan(
        folder=data_dir / "backups",
        database=data_dir / "mongodb",
        create=(*command("backup create", settings), "--json", "-o"),
        verify=(*command("backup verify", settings), "--json"),
    )


def _keeping(settings: Settings) -> Keeping:
    return Keeping(
        retention=settings.retention.policy,
        audit_s=timedelta(days=settings.audit.days).total_seconds(),
        backups_kept=settings.backups.kept,
    )
