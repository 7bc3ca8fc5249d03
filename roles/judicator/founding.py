"""A judicator's place in its cluster: made by `--init`, got by joining, kept for good.

The authority's key is what makes a data directory one of a cluster with certificates. It is
written before `node.json`, so that a directory that says which cluster it is of can also prove it;
the node's own certificate follows at every start if it is missing, about to end, or says other
addresses than the node now has. Without `--init` or `--join` a first start makes a cluster that
nobody outside this host can reach, whose processes share a secret in a file.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from khala.config.load import is_loopback
from khala.config.settings import EVERYWHERE, Settings
from khala.model.dates import utc_now
from khala.model.errors import KhalaError, OutcomeUnknown, Rejected, Unavailable
from khala.model.ids import JudicatorName, mint_nonce
from khala.net.joining import Joiner, join, request
from khala.net.secrets import create_secret
from khala.pki.local import issue
from khala.pki.node import JUDICATOR, Certificate, NodeTls, write_secret
from khala.protocol.members import Entered, Epoch, Member
from khala.supervise.datadir import Node, has_node, keep_node, load_node
from khala.supervise.etcd import peer_url
from khala.supervise.probes import tcp_answers
from roles.belonging import MEMBERS_FILE, read_members

log = structlog.get_logger()

#: Left by a node that was taken out of its cluster, so that it does not start again.
REMOVED = "removed"
#: There while a recovery is under way, or was cut off.
RECOVERING = "recovering"


def take_place(settings: Settings, data_dir: Path, *, init: bool) -> tuple[Node, NodeTls | None]:
    """Who this node is, and its certificate if its cluster has an authority.

    Raise `Rejected` for what contradicts the data, or would let strangers in.
    """
    identity = NodeTls(data_dir, JUDICATOR)
    require_place(data_dir, recovering=False)
    if not has_node(data_dir):
        if settings.join:
            _join(settings, data_dir, identity)
        elif init:
            found(identity)
    node = load_node(data_dir, settings.name)
    if identity.authority_key_file.exists():
        certify(settings, node, identity)
        _require_epoch(settings, node, identity)
        return node, identity
    _require_loopback(settings)
    create_secret(Path(settings.secret_file))
    return node, None


def require_place(data_dir: Path, *, recovering: bool) -> None:
    """Raise `Rejected` for data that has no place in a cluster any more, or not yet again."""
    if (data_dir / REMOVED).exists():
        raise Rejected(
            f"--data-dir: the judicator in {data_dir} has been taken out of its cluster, its data"
            " is of no use any more; remove the directory, or give an empty one and join again",
            field="--data-dir",
        )
    if (data_dir / RECOVERING).exists() and not recovering:
        raise Rejected(
            f"--data-dir: a recovery of {data_dir} was cut off; repeat khala.pex recover"
            " --from-survivor, with the same options, until it says that it is done",
            field="--data-dir",
        )


def _require_epoch(settings: Settings, node: Node, identity: NodeTls) -> None:
    """Raise `Rejected` if the cluster was recovered without this node: what it has must not meet
    what came after. Whoever does not answer is no reason to wait: all may be starting at once."""
    data_dir = Path(settings.data_dir)
    known = [each.rpc for each in read_members(data_dir) if each.name != node.name]
    for address in dict.fromkeys((*known, *settings.join)):
        host, _, port = address.rpartition(":")
        if not asyncio.run(tcp_answers(host.strip("[]"), int(port))):
            continue
        try:
            answer = request(address, "GET", "/rpc/v1/epoch", identity.client, b"")
            epoch = msgspec.msgpack.decode(answer, type=Epoch).number
        except (KhalaError, msgspec.MsgspecError):
            continue
        if epoch > node.epoch:
            write_secret(data_dir / REMOVED, b"")
            raise Rejected(
                f"--data-dir: the cluster was recovered without the judicator in {data_dir}, whose"
                f" data is of before that (epoch {node.epoch}, {address} is in {epoch}); remove the"
                " directory, or give an empty one and join again",
                field="--data-dir",
            )


def found(identity: NodeTls) -> None:
    """Make the secrets of a cluster with certificates."""
    from khala.pki.authority import Authority

    if identity.authority_key_file.exists():
        return  # an earlier try was cut off here
    # A name of its own: no program may take one cluster's authority for another's.
    authority = Authority.create(mint_nonce())
    write_secret(identity.mongodb_key_file, secrets.token_hex(64).encode())
    write_secret(identity.authority_file, authority.certificate)
    write_secret(identity.authority_key_file, authority.key)
    log.info("cluster.founded", authority=str(identity.authority_file))


def _join(settings: Settings, data_dir: Path, identity: NodeTls) -> None:
    """Become known to the cluster; its databases take this node in once it runs."""
    joiner = Joiner(
        addresses=settings.join,
        token_file=settings.join_token_file,
        role=JUDICATOR,
        name=settings.name,
        hosts=hosts_of(settings),
    )
    answer = join(joiner, identity)
    shared = answer.shared
    if shared is None:
        raise Rejected("the cluster did not share what a judicator needs; is it an older Khala?")
    if shared.replica_set != settings.mongodb.replica_set:
        raise Rejected(
            f"--mongodb-replica-set: the cluster's is {shared.replica_set}, not"
            f" {settings.mongodb.replica_set}",
            field="--mongodb-replica-set",
        )
    write_secret(identity.mongodb_key_file, shared.mongodb_key)
    write_secret(identity.authority_key_file, shared.authority_key)
    keep_node(
        data_dir,
        Node(cluster=answer.cluster, name=settings.name, joined=True, epoch=answer.epoch),
    )


def certify(settings: Settings, node: Node, identity: NodeTls) -> bool:
    """Sign this node's own certificate if it needs one; whether it did."""
    hosts = hosts_of(settings)
    now = utc_now()
    if identity.exists:
        known = identity.certificate
        if (known.name, known.hosts) == (node.name, hosts) and now < known.renew_at:
            return False
    life = timedelta(seconds=settings.certificate_life)
    issue(
        identity,
        identity,
        Certificate(
            cluster=node.cluster,
            name=node.name,
            role=JUDICATOR,
            hosts=hosts,
            issued_at=now,
            expires_at=now + life,
        ),
    )
    return True


def announce(settings: Settings, node: Node, identity: NodeTls) -> str:
    """Have the cluster take this node's etcd in; what etcd is to be started with.

    Needed once, before the first start of etcd, which must find itself announced; waits for its
    turn for as long as that takes, because one judicator joins at a time."""
    data_dir = Path(settings.data_dir)
    if not node.joined or (data_dir / "etcd" / "member").exists():
        return ""
    own = member_of(settings, node.epoch)
    addresses = dict.fromkeys((*settings.join, *identity.certificate.judicators))
    body = msgspec.msgpack.encode(own)
    said = ""
    while True:
        for address in addresses:
            why = "the cluster announces it"
            try:
                answer = request(address, "POST", "/rpc/v1/members", identity.client, body)
                entered = msgspec.msgpack.decode(answer, type=Entered)
            except (Unavailable, OutcomeUnknown) as error:
                why = error.message
                continue
            if entered.existing:
                write_secret(data_dir / MEMBERS_FILE, msgspec.json.encode(entered.members))
                if len(entered.members) == 2:
                    log.warning(
                        "cluster.survives_nothing",
                        why="two judicators survive no failure, of either host; add a third",
                    )
                return entered.existing
        if why != said:
            log.info("member.waits", why=why)
        said = why
        time.sleep(0.5)


def member_of(settings: Settings, epoch: int) -> Member:
    """How the others reach this node and its databases."""
    host = settings.advertised
    return Member(
        name=JudicatorName(settings.name),
        rpc=f"{host}:{settings.rpc.port}",
        mongodb=f"{host}:{settings.mongodb.port}",
        etcd_client=f"{host}:{settings.etcd.client_port}",
        etcd_peer=peer_url(host, settings.etcd.peer_port),
        epoch=epoch,
    )


def hosts_of(settings: Settings) -> tuple[str, ...]:
    """Every address under which this node may be asked, the advertised one first."""
    own = [settings.advertised, settings.bind, os.uname().nodename, "localhost", "127.0.0.1"]
    return tuple(dict.fromkeys(host for host in own if host != EVERYWHERE))


def _require_loopback(settings: Settings) -> None:
    for flag, host in (("--bind", settings.bind), ("--advertise", settings.advertised)):
        if not is_loopback(host):
            raise Rejected(
                f"{flag}: {host} can be reached from other hosts, and the data in"
                f" {settings.data_dir} is of a cluster without certificates; make a new cluster"
                " with --init, or join one with --join and --join-token-file, in an empty"
                " --data-dir; or use 127.0.0.1",
                field=flag,
            )
