"""Settings into a serving process."""

from __future__ import annotations

from pathlib import Path

from khala.config.settings import Settings
from khala.model.ids import JudicatorName
from roles.judicator import serve


def run(settings: Settings, cluster: str, watchdog_fd: int | None) -> int:
    """Serve until SIGTERM; the exit code."""
    host = settings.bind
    return serve.run(
        serve.ServeConfig(
            name=JudicatorName(settings.name),
            cluster=cluster,
            host=host,
            port=settings.rpc.port,
            advertise=f"{host}:{settings.rpc.port}",
            mongodb_hosts=(f"{host}:{settings.mongodb.port}",),
            replica_set=settings.mongodb.replica_set,
            etcd_endpoints=(f"{host}:{settings.etcd.client_port}",),
            secret_file=Path(settings.secret_file),
            max_body_bytes=settings.gateway.max_body,
            watchdog_fd=watchdog_fd,
        )
    )
