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
    expose: tuple[str, ...]
    allow_degraded: bool
    uid_base: int
    drain: float
    box: int
    box_inodes: int
    compile_cache: int


class Nsjail(Struct, frozen=True, kw_only=True):
    bin: str | None


class Limits(Struct, frozen=True, kw_only=True):
    wall_max: float
    cpus: float
    pids: int
    compile_memory: int
    execute_memory: int
    output: int
    file_size: int


class Gateway(Struct, frozen=True, kw_only=True):
    bind: str
    port: int
    max_body: int
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
