"""What a gateway needs to know, as it needs it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from khala.model.spec import StageLimits
from khala.net.credentials import Credentials


class StageDefaults(Struct, frozen=True, kw_only=True):
    """Limits of a stage whose submission names none but the time, as KV2's does."""

    memory_bytes: int
    pids: int
    output_bytes: int
    file_bytes: int
    cpus: float
    disk_bytes: int
    disk_files: int

    def with_timeout(self, timeout_s: int, max_wall_ms: int) -> StageLimits:
        """`timeout_s` as KV2 means it: 0 sets no limit of the user's own."""
        wall_ms = min(timeout_s * 1000, max_wall_ms) if timeout_s else max_wall_ms
        return StageLimits(
            wall_ms=wall_ms,
            cpu_ms=int(wall_ms * self.cpus),
            memory_bytes=self.memory_bytes,
            pids=self.pids,
            output_bytes=self.output_bytes,
            file_bytes=self.file_bytes,
            cpus=self.cpus,
            disk_bytes=self.disk_bytes,
            disk_files=self.disk_files,
        )


class LegacyApi(StrEnum):
    """What KV2's addresses ask of whoever uses them."""

    #: What all others do.
    AUTO = "auto"
    #: Nothing, although there are users.
    OPEN = "open"
    #: They are not there.
    OFF = "off"


class RequestRate(Struct, frozen=True, kw_only=True):
    """What one caller may send."""

    per_second: float
    #: At once, after a silence.
    burst: int


class GatewayConfig(Struct, frozen=True, kw_only=True):
    bind: str
    #: 0 picks a free one.
    port: int
    #: Further names under which browsers may reach an open gateway.
    host_names: tuple[str, ...]
    #: host:port of the judicators to ask first.
    judicators: tuple[str, ...]
    #: Where it is noted which ones the cluster has told of.
    judicators_file: Path
    credentials: Credentials
    #: The gateway's own token; None leaves it open while there are no users, which only a loopback
    #: address may be.
    token_file: Path | None
    #: Only users are let in, also beyond a loopback address.
    users_only: bool = False
    legacy_api: LegacyApi = LegacyApi.AUTO
    #: None: no limit.
    request_rate: RequestRate | None = None
    #: One request's body.
    max_body_bytes: int
    max_blob_bytes: int
    compile: StageDefaults
    execute: StageDefaults
    #: What a submission may ask for at the most; `wall_ms` is also what no time-out means.
    maxima: StageLimits
