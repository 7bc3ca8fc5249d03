"""Settings into a serving process."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from khala.config.settings import Settings
from khala.model.ids import JudicatorName
from khala.pki.node import JUDICATOR, NodeTls
from roles.judicator import serve


def run(settings: Settings, cluster: str, watchdog_fd: int | None) -> int:
    """Serve until SIGTERM; the exit code."""
    data_dir = Path(settings.data_dir)
    identity = NodeTls(data_dir, JUDICATOR)
    known_as = settings.advertised
    return serve.run(
        serve.ServeConfig(
            name=JudicatorName(settings.name),
            cluster=cluster,
            host=settings.bind,
            port=settings.rpc.port,
            advertise=f"{known_as}:{settings.rpc.port}",
            mongodb_hosts=(f"{known_as}:{settings.mongodb.port}",),
            replica_set=settings.mongodb.replica_set,
            etcd_endpoints=(f"{settings.local}:{settings.etcd.client_port}",),
            secret_file=Path(settings.secret_file),
            identity=identity if identity.exists else None,
            certificate_life=timedelta(seconds=settings.certificate_life),
            max_body_bytes=settings.gateway.max_body,
            watchdog_fd=watchdog_fd,
        )
    )
