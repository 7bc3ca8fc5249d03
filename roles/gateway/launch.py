"""Settings into a gateway."""

from __future__ import annotations

from pathlib import Path

import msgspec

from khala.config.load import is_loopback
from khala.config.settings import Settings
from khala.model.errors import Rejected
from khala.model.spec import StageLimits
from khala.net.address_book import FILE as JUDICATORS_FILE
from khala.net.joining import is_join_token
from khala.pki.node import GATEWAY
from roles.belonging import credentials_of, judicators_of
from roles.gateway import app
from roles.gateway.config import GatewayConfig, LegacyApi, RequestRate, StageDefaults


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    settings = _sort_tokens(settings)
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

    rate = RequestRate(per_second=gateway.requests_per_second, burst=gateway.request_burst)
    return app.run(
        GatewayConfig(
            bind=gateway.bind,
            port=gateway.port,
            host_names=gateway.host_names,
            judicators=judicators_of(settings, GATEWAY),
            judicators_file=Path(settings.data_dir) / JUDICATORS_FILE,
            credentials=credentials_of(settings, GATEWAY),
            token_file=Path(gateway.token_file) if gateway.token_file else None,
            users_only=gateway.users_only,
            legacy_api=LegacyApi(gateway.legacy_api),
            request_rate=rate if rate.per_second else None,
            max_body_bytes=gateway.max_body,
            max_blob_bytes=gateway.max_blob,
            compile=defaults(limits.compile_memory),
            execute=defaults(limits.execute_memory),
            maxima=maxima,
        )
    )


def _sort_tokens(settings: Settings) -> Settings:
    """`--token-file` names the API's token; people who just joined an executor with a flag of that
    name give a join token there, which shows in how it begins."""
    file = settings.gateway.token_file
    if file is None or settings.join_token_file is not None or not is_join_token(Path(file)):
        return settings
    if not is_loopback(settings.gateway.bind) and not settings.gateway.users_only:
        raise Rejected(
            f"--token-file: {file} holds a join token; give that with --join-token-file, and with"
            " --token-file the secret that callers of the API are to show",
            field="--token-file",
        )
    gateway = msgspec.structs.replace(settings.gateway, token_file=None)
    return msgspec.structs.replace(settings, gateway=gateway, join_token_file=file)
