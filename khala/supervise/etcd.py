"""The command line of an etcd member.

The bundled etcd is 3.5.1, one of three releases in which a crash under load can silently make a
member diverge. It is bearable because only soft state is kept in it, and these flags narrow it:
the check at start is reliable after exactly that crash, the hourly compaction and the quota keep
the data tiny.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class Tls(Struct, frozen=True, kw_only=True):
    """Files of a judicator's certificate; etcd reads them anew for each connection."""

    node: Path
    authority: Path
    #: The name that a certificate must have: an executor's is of the same authority.
    peers: str


class EtcdSettings(Struct, frozen=True, kw_only=True):
    program: Path
    name: str
    cluster: str
    data_dir: Path
    #: An address to listen on.
    host: str
    peer_port: int
    client_port: int
    #: By what the other members reach it; `host` if there are none on other hosts.
    advertise: str = ""
    tls: Tls | None = None
    #: All members, this one included, when it joins others: `name=url,...`.
    existing: str = ""
    #: Forget the others: what is left of a cluster that has lost its majority is one of one.
    alone: bool = False


def etcd_argv(settings: EtcdSettings) -> tuple[str, ...]:
    """A member of its own cluster; an existing data directory wins over the initial flags."""
    scheme = "https" if settings.tls else "http"
    known_as = settings.advertise or settings.host
    peer = f"{scheme}://{known_as}:{settings.peer_port}"
    return (
        str(settings.program),
        f"--name={settings.name}",
        f"--data-dir={settings.data_dir}",
        f"--listen-peer-urls={scheme}://{settings.host}:{settings.peer_port}",
        f"--initial-advertise-peer-urls={peer}",
        f"--listen-client-urls={scheme}://{settings.host}:{settings.client_port}",
        f"--advertise-client-urls={scheme}://{known_as}:{settings.client_port}",
        f"--initial-cluster={settings.existing or f'{settings.name}={peer}'}",
        f"--initial-cluster-token={settings.cluster}",
        f"--initial-cluster-state={'existing' if settings.existing else 'new'}",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--quota-backend-bytes=268435456",
        "--heartbeat-interval=100",
        "--election-timeout=1000",
        "--strict-reconfig-check",
        "--pre-vote=true",
        "--enable-v2=false",
        "--experimental-initial-corrupt-check=true",
        "--experimental-corrupt-check-time=1m",
        "--logger=zap",
        "--log-outputs=stderr",
        "--log-level=info",
        *(("--force-new-cluster",) if settings.alone else ()),
        *(_tls_argv(settings.tls) if settings.tls else ()),
    )


def peer_url(host: str, port: int) -> str:
    """How the members of a cluster with certificates know a member."""
    return f"https://{host}:{port}"


def _tls_argv(tls: Tls) -> tuple[str, ...]:
    """Both doors ask for a judicator's certificate. The JSON gateway is off: nothing uses it, and
    it would call its own member with a certificate that the rule below refuses."""
    return (
        f"--cert-file={tls.node}",
        f"--key-file={tls.node}",
        f"--trusted-ca-file={tls.authority}",
        "--client-cert-auth",
        f"--client-cert-allowed-hostname={tls.peers}",
        f"--peer-cert-file={tls.node}",
        f"--peer-key-file={tls.node}",
        f"--peer-trusted-ca-file={tls.authority}",
        "--peer-client-cert-auth",
        f"--peer-cert-allowed-hostname={tls.peers}",
        "--enable-grpc-gateway=false",
    )
