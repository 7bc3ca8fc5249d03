"""One judicator's data becomes the whole cluster.

Nothing here decides that the others are lost: the operator does, by typing the cluster's id, and is
refused as long as one of them answers. The order is what makes a cut harmless. A marker comes first
that keeps the judicator from starting, the node's new identity and the end of the marker come last,
and everything between can be done again.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from khala.config.settings import Settings
from khala.coordination.etcd_members import list_members
from khala.coordination.etcd_rpc import EtcdRpc
from khala.model.errors import Rejected, Unavailable
from khala.pki.node import JUDICATOR, NodeTls, write_secret
from khala.protocol.members import Member, Standing
from khala.store.client import connect, database_of, ensure_replica_set
from khala.store.epochs import Epoch, Kept, begin_epoch
from khala.store.schema import ensure_schema
from khala.store.survivor import Survivor, make_only_member
from khala.supervise.datadir import Node, has_node, keep_node, load_node, lock_dir, make_dir
from khala.supervise.probes import require_free, tcp_answers
from khala.supervise.tree import Identity, Tree
from roles.belonging import MEMBERS_FILE, read_members
from roles.judicator.app import Place, etcd_of, mongod_of
from roles.judicator.founding import RECOVERING, certify, member_of, require_place
from roles.judicator.renewal import etcd_tls, mongo_settings
from roles.judicator.scratch import mongod_on

_CONFIRM = "--yes-i-have-lost"
_START_S = 120.0


class Case(Struct, frozen=True, kw_only=True):
    """What is recovered, by whom, and who is given up."""

    place: Place
    identity: NodeTls
    own: Member
    lost: tuple[Member, ...]

    @property
    def epoch(self) -> int:
        return self.place.node.epoch + 1


def run(settings: Settings, confirmed: str | None) -> int:
    """Return the exit code. Raise `Rejected` where it must not be done."""
    data_dir = make_dir(Path(settings.data_dir))
    if not has_node(data_dir):
        raise Rejected(
            f"--data-dir: {data_dir} is not a judicator's; give that of one, on its host",
            field="--data-dir",
        )
    lock = lock_dir(data_dir)
    case = _case(settings, data_dir, lock)
    _require_confirmed(case, confirmed)
    asyncio.run(_require_silence(case.lost))
    write_secret(data_dir / RECOVERING, b"")
    survivor, kept = asyncio.run(_recover(case))
    _settle(case)
    _tell(case, survivor, kept)
    return 0


def _case(settings: Settings, data_dir: Path, lock: int) -> Case:
    require_place(data_dir, recovering=True)
    node = load_node(data_dir, settings.name)
    settings = msgspec.structs.replace(settings, name=node.name)
    identity = NodeTls(data_dir, JUDICATOR)
    lost = tuple(each for each in read_members(data_dir) if each.name != node.name)
    if not identity.authority_key_file.exists() or not lost:
        raise Rejected(
            f"--data-dir: the judicator in {data_dir} knows of no other one, so no majority can be"
            " lost; start it as always",
            field="--data-dir",
        )
    certify(settings, node, identity)
    place = Place(
        settings=settings,
        node=node,
        identity=identity,
        existing="",
        data_dir=data_dir,
        lock=lock,
        alone=True,
    )
    own = msgspec.structs.replace(member_of(settings, node.epoch + 1), standing=Standing.MEMBER)
    return Case(place=place, identity=identity, own=own, lost=lost)


def _require_confirmed(case: Case, confirmed: str | None) -> None:
    cluster = case.place.node.cluster
    if confirmed == cluster:
        return
    given = "" if confirmed is None else f"{confirmed[:80]!r} is not this cluster. "
    others = " and ".join(f"{each.name} ({each.rpc})" for each in case.lost)
    raise Rejected(
        f"{_CONFIRM}: {given}{others} would be given up for ever, with every task and every result"
        f" that {case.own.name} has not got; if one of them can be brought back, do that instead."
        f" Otherwise repeat it with {_CONFIRM} {cluster}",
        field=_CONFIRM,
    )


async def _require_silence(lost: tuple[Member, ...]) -> None:
    """A network that is cut is no loss: two majorities would each go on with the same tasks."""
    doors = [
        (each.name, address)
        for each in lost
        for address in (each.rpc, each.mongodb, each.etcd_peer.rpartition("/")[2])
    ]
    answers = await asyncio.gather(*(_answers(address) for _, address in doors))
    for (name, address), answered in zip(doors, answers, strict=True):
        if answered:
            raise Rejected(
                f"judicator {name} answers at {address}: it is not lost. Start this judicator, and"
                " the cluster goes on with a majority; or stop that one and make sure that it never"
                " starts again"
            )


async def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return await tcp_answers(host.strip("[]"), int(port))


async def _recover(case: Case) -> tuple[Survivor, Kept]:
    place = case.place
    settings = place.settings
    for flag, port in (
        ("--etcd-peer-port", settings.etcd.peer_port),
        ("--etcd-client-port", settings.etcd.client_port),
        ("--mongodb-port", settings.mongodb.port),
    ):
        require_free(settings.bind, port, flag)
    click.echo("khala: rewriting the replica set ...", err=True)
    async with mongod_on(place.data_dir / "mongodb", settings.mongodb.bin) as database:
        survivor = await make_only_member(database, case.own.mongodb)
    click.echo("khala: starting both databases with one member each ...", err=True)
    return survivor, await _with_databases(case)


async def _with_databases(case: Case) -> Kept:
    """Both run as members of clusters of one while the new epoch begins, and nothing else does."""
    place = case.place
    stop, started = asyncio.Event(), asyncio.Event()
    tree = Tree(
        Identity(role="recover", rpc=""),
        [etcd_of(place), mongod_of(place)],
        place.data_dir / "run" / "recover.json",
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(tree.run(stop, started))
        try:
            async with asyncio.timeout(_START_S):
                await started.wait()
            return await _begin(case)
        except TimeoutError:
            raise Unavailable(
                f"the databases did not start within {_START_S:.0f} s; see the lines above, and"
                " repeat the command"
            ) from None
        finally:
            stop.set()


async def _begin(case: Case) -> Kept:
    place, identity = case.place, case.identity
    settings = place.settings
    etcd = EtcdRpc((f"{settings.local}:{settings.etcd.client_port}",), etcd_tls(identity))
    mongo = mongo_settings((case.own.mongodb,), settings.mongodb.replica_set, identity)
    client = connect(mongo)
    try:
        members = await list_members(etcd)
        if len(members) != 1:
            raise Unavailable(
                f"etcd has {len(members)} members and not one; remove {place.data_dir}/etcd, which"
                " holds nothing that is needed, and repeat the command"
            )
        await ensure_replica_set(mongo, initiate=False)
        database = database_of(client)
        await ensure_schema(database)
        epoch = Epoch(cluster=place.node.cluster, number=case.epoch, judicator=case.own.name)
        return await begin_epoch(database, epoch)
    finally:
        await etcd.close()
        await client.close()


def _settle(case: Case) -> None:
    """From here on it starts as any judicator does, and every other data of before is refused."""
    data_dir, node = case.place.data_dir, case.place.node
    write_secret(data_dir / MEMBERS_FILE, msgspec.json.encode([case.own]))
    keep_node(data_dir, Node(cluster=node.cluster, name=node.name, epoch=case.epoch))
    (data_dir / RECOVERING).unlink()


def _tell(case: Case, survivor: Survivor, kept: Kept) -> None:
    newest = survivor.newest
    until = "unknown" if newest is None else f"{newest.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    click.echo(
        f"{case.own.name} is the only judicator of the cluster now (epoch {case.epoch}, recovered"
        f" at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC).\n"
        f"{kept.tasks:,} tasks are there, {kept.unfinished:,} of them unfinished;"
        f" {kept.interrupted:,} of these were on executors and run again.\n"
        f"Its data ends at {until}. What the others had acknowledged and not yet passed on is lost:"
        " tasks are unknown, ended ones run again, cancelled ones come back.\n"
        "Every join token is revoked. Start it as always; the others join again, each with an empty"
        " --data-dir and a token of khala.pex token create --role judicator."
    )
