"""The command line of a mongod member."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class MongodTls(Struct, frozen=True, kw_only=True):
    """Connections need a certificate of the authority, and a login: the members' common key."""

    node: Path
    authority: Path
    key: Path


class MongodSettings(Struct, frozen=True, kw_only=True):
    program: Path
    data_dir: Path
    host: str
    port: int
    replica_set: str
    tls: MongodTls | None = None


def mongod_argv(settings: MongodSettings) -> tuple[str, ...]:
    """A replica-set member on one address, small enough to share a host with its Judicator.

    No Unix socket: it would be a door beside the address. The journal is on, as it must be: an
    accepted task is one that is in the journal.
    """
    return (
        str(settings.program),
        "--replSet",
        settings.replica_set,
        "--dbpath",
        str(settings.data_dir),
        "--bind_ip",
        settings.host,
        "--port",
        str(settings.port),
        "--nounixsocket",
        "--wiredTigerCacheSizeGB",
        "0.5",
        "--oplogSize",
        "2048",
        "--quiet",
        "--setParameter",
        "diagnosticDataCollectionEnabled=false",
        "--setParameter",
        # Else a member of several lets fifteen seconds pass for clients that need to be told.
        "shutdownTimeoutMillisForSignaledShutdown=1000",
        *(_tls_argv(settings.tls) if settings.tls else ()),
    )


def _tls_argv(tls: MongodTls) -> tuple[str, ...]:
    """`--keyFile` turns authorization on."""
    return (
        "--tlsMode",
        "requireTLS",
        "--tlsCertificateKeyFile",
        str(tls.node),
        "--tlsCAFile",
        str(tls.authority),
        "--clusterAuthMode",
        "keyFile",
        "--keyFile",
        str(tls.key),
    )
