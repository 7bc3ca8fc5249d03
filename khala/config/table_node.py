"""The settings of a node and of the servers on it; see `khala.config.table`."""

from __future__ import annotations

import os

from khala.config.setting import ALL, J, Setting, port
from khala.config.values import Kind


def _default_data_dir() -> str:
    return "/var/lib/khala" if os.geteuid() == 0 else os.path.expanduser("~/.local/share/khala")


def _default_name() -> str:
    return os.uname().nodename.partition(".")[0] or "node"


GENERAL = (
    Setting(
        key="data_dir",
        flag="--data-dir",
        kind=Kind.PATH,
        default=_default_data_dir(),
        default_text="/var/lib/khala for root, else ~/.local/share/khala",
        help="Where everything durable of this node is kept.",
        roles=ALL,
    ),
    Setting(
        key="name",
        flag="--name",
        kind=Kind.TEXT,
        default=_default_name(),
        default_text="host name",
        help="Name of this node; unique per role in the cluster.",
        roles=ALL,
    ),
    Setting(
        key="bind",
        flag="--bind",
        kind=Kind.TEXT,
        default="127.0.0.1",
        default_text="127.0.0.1; with --advertise all addresses",
        help="IPv4 address on which etcd, MongoDB and RPC listen; beyond loopback only in a cluster"
        " made with --init, or joined, whose links are authenticated.",
        roles=(J,),
    ),
    Setting(
        key="advertise",
        flag="--advertise",
        kind=Kind.TEXT,
        default=None,
        default_text="the bind address",
        help="Name or IPv4 address by which the other hosts of the cluster reach this judicator;"
        " its databases are known by it for good.",
        roles=(J,),
    ),
    Setting(
        key="join",
        flag="--join",
        kind=Kind.LIST,
        default=(),
        default_text="the bind address and the RPC port",
        help="RPC addresses of judicators, as host or host:port. A judicator joins their cluster.",
        roles=ALL,
    ),
    Setting(
        key="join_token_file",
        flag="--join-token-file",
        alias="--token-file",
        kind=Kind.TEXT,
        default=None,
        help="File with a token of `token create`, or - for standard input; needed once, to join a"
        " cluster of several hosts.",
        roles=ALL,
    ),
    Setting(
        key="certificate_life",
        flag="--certificate-life",
        kind=Kind.SECONDS,
        default=7_776_000.0,
        help="How long the certificates are valid that this judicator signs; nodes renew theirs"
        " when a third of it is left.",
        roles=(J,),
        minimum=30,
        maximum=31_536_000,
    ),
    Setting(
        key="secret_file",
        flag="--secret-file",
        kind=Kind.PATH,
        default=None,
        default_text="<data-dir>/secret",
        help="The cluster's secret, mode 0600; a judicator makes it at its first start.",
        roles=ALL,
    ),
)
SERVERS = (
    port("etcd.peer_port", "--etcd-peer-port", 2000, (J,), "etcd, between judicators."),
    port("etcd.client_port", "--etcd-client-port", 2001, (J,), "etcd, for the judicator."),
    Setting(
        key="etcd.bin",
        flag="--etcd-bin",
        kind=Kind.PATH,
        default=None,
        default_text="the one inside the file",
        help="Another etcd program.",
        roles=(J,),
    ),
    port("mongodb.port", "--mongodb-port", 3000, (J,), "MongoDB."),
    Setting(
        key="mongodb.bin",
        flag="--mongod-bin",
        kind=Kind.PATH,
        default=None,
        default_text="the one inside the file",
        help="Another mongod program.",
        roles=(J,),
    ),
    Setting(
        key="mongodb.replica_set",
        flag="--mongodb-replica-set",
        kind=Kind.TEXT,
        default="rs",
        help="Name of the replica set; fixed by the first start.",
        roles=(J,),
    ),
    port("rpc.port", "--rpc-port", 4000, ALL, "RPC of the judicator."),
)
