"""Settings into a gateway."""

from __future__ import annotations

from pathlib import Path

from khala.config.settings import Settings
from khala.model.spec import StageLimits
from roles.gateway import app
from roles.gateway.config import GatewayConfig, StageDefaults


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    gateway, limits = settings.gateway, settings.limits

    def defaults(memory_bytes: int) -> StageDefaults:
        return StageDefaults(
            memory_bytes=memory_bytes,
            pids=limits.pids,
            output_bytes=limits.output,
            file_bytes=limits.file_size,
            cpus=limits.cpus,
            disk_bytes=limits.disk,
            disk_files=limits.disk_files,
        )

    max_wall_ms = round(limits.wall_max * 1000)
    maxima = StageLimits(
        wall_ms=max_wall_ms,
        cpu_ms=int(max_wall_ms * limits.cpus_max),
        memory_bytes=limits.memory_max,
        pids=limits.pids_max,
        output_bytes=limits.output_max,
        file_bytes=limits.file_size_max,
        cpus=limits.cpus_max,
        disk_bytes=limits.disk_max,
        disk_files=limits.disk_files_max,
    )

    return app.run(
        GatewayConfig(
            bind=gateway.bind,
            port=gateway.port,
            host_names=gateway.host_names,
            judicators=settings.join,
            secret_file=Path(settings.secret_file),
            token_file=Path(gateway.token_file) if gateway.token_file else None,
            max_body_bytes=gateway.max_body,
            max_blob_bytes=gateway.max_blob,
            compile=defaults(limits.compile_memory),
            execute=defaults(limits.execute_memory),
            maxima=maxima,
        )
    )
