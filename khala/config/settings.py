"""The result: a frozen tree whose fields mirror the keys of `khala.config.table`."""

from __future__ import annotations

from msgspec import Struct

from khala.config.quotas import quotas_of
from khala.model.quota import ToldQuota, ToldQuotas
from khala.model.retention import Retention

EVERYWHERE = "0.0.0.0"  # noqa: S104 - who may listen there is decided elsewhere


class Etcd(Struct, frozen=True, kw_only=True):
    peer_port: int
    client_port: int
    bin: str | None


class Mongodb(Struct, frozen=True, kw_only=True):
    port: int
    bin: str | None
    replica_set: str


class Rpc(Struct, frozen=True, kw_only=True):
    port: int


class Executor(Struct, frozen=True, kw_only=True):
    slots: int
    warm_jails: int
    expose: tuple[str, ...]
    allow_degraded: bool
    allow_network: str
    images: tuple[str, ...]
    resources: tuple[str, ...]
    labels: tuple[str, ...]
    uid_base: int
    drain: float
    compile_cache: int
    blob_cache: int


class Nsjail(Struct, frozen=True, kw_only=True):
    bin: str | None


class Limits(Struct, frozen=True, kw_only=True):
    wall_max: float
    cpus: float
    cpus_max: float
    pids: int
    pids_max: int
    compile_memory: int
    execute_memory: int
    memory_max: int
    output: int
    output_max: int
    file_size: int
    file_size_max: int
    disk: int
    disk_max: int
    disk_files: int
    disk_files_max: int


class Gateway(Struct, frozen=True, kw_only=True):
    bind: str
    port: int
    max_body: int
    max_blob: int
    token_file: str | None
    users_only: bool
    legacy_api: str
    requests_per_second: float
    request_burst: int
    host_names: tuple[str, ...]


class RetentionSettings(Struct, frozen=True, kw_only=True):
    """0 stands for no bound."""

    age: float
    count: int
    bytes: int

    @property
    def policy(self) -> Retention:
        return Retention(
            age_s=self.age or None, count=self.count or None, size_bytes=self.bytes or None
        )


class BackupSettings(Struct, frozen=True, kw_only=True):
    kept: int


class QuotaSettings(Struct, frozen=True, kw_only=True):
    """0 stands for no bound."""

    queued: int
    running: int
    cpu: float
    bytes: int
    users: tuple[str, ...]

    @property
    def policy(self) -> ToldQuotas:
        default = ToldQuota(
            queued=self.queued,
            running=self.running,
            cpu_s=round(self.cpu),
            size_bytes=self.bytes,
        )
        return quotas_of(default, self.users)


class Audit(Struct, frozen=True, kw_only=True):
    days: int


class Log(Struct, frozen=True, kw_only=True):
    level: str
    format: str
    file: str | None


class Settings(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, durations in seconds."""

    data_dir: str
    name: str
    bind: str
    advertise: str | None
    join: tuple[str, ...]
    join_token_file: str | None
    certificate_life: float
    secret_file: str
    etcd: Etcd
    mongodb: Mongodb
    rpc: Rpc
    executor: Executor
    nsjail: Nsjail
    limits: Limits
    gateway: Gateway
    retention: RetentionSettings
    audit: Audit
    backups: BackupSettings
    quota: QuotaSettings
    log: Log

    @property
    def judicators(self) -> tuple[str, ...]:
        """Whom to ask: those named, else the one of this host."""
        return self.join or (f"{self.local}:{self.rpc.port}",)

    @property
    def local(self) -> str:
        """Where this host itself reaches what listens on `bind`."""
        return "127.0.0.1" if self.bind == EVERYWHERE else self.bind

    @property
    def advertised(self) -> str:
        """By what other hosts reach this one."""
        return self.advertise or self.bind
