"""The command line of an etcd member.

The bundled etcd is 3.5.1, one of three releases in which a crash under load can silently make a
member diverge. It is bearable because only soft state is kept in it, and these flags narrow it:
the check at start is reliable after exactly that crash, the hourly compaction and the quota keep
the data tiny.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class EtcdSettings(Struct, frozen=True, kw_only=True):
    program: Path
    name: str
    cluster: str
    data_dir: Path
    host: str
    peer_port: int
    client_port: int


def etcd_argv(settings: EtcdSettings) -> tuple[str, ...]:
    """A member of its own cluster; an existing data directory wins over the initial flags."""
    peer = f"http://{settings.host}:{settings.peer_port}"
    client = f"http://{settings.host}:{settings.client_port}"
    return (
        str(settings.program),
        f"--name={settings.name}",
        f"--data-dir={settings.data_dir}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--initial-cluster={settings.name}={peer}",
        f"--initial-cluster-token={settings.cluster}",
        "--initial-cluster-state=new",
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
    )
