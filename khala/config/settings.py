"""The result: a frozen tree whose fields mirror the keys of `khala.config.table`."""

from __future__ import annotations

from msgspec import Struct


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
    images: tuple[str, ...]
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
    host_names: tuple[str, ...]


class Log(Struct, frozen=True, kw_only=True):
    level: str
    format: str
    file: str | None


class Settings(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, durations in seconds."""

    data_dir: str
    name: str
    bind: str
    join: tuple[str, ...]
    secret_file: str
    etcd: Etcd
    mongodb: Mongodb
    rpc: Rpc
    executor: Executor
    nsjail: Nsjail
    limits: Limits
    gateway: Gateway
    log: Log
