"""Judicators come and go: the leader moves both databases towards what the members' documents say.

One step a round, for one member at a time, and only on top of a healthy rest. A joiner is a learner
of etcd, then a voter, then a member of the replica set without a vote, then with one: at no moment
does a majority depend on data that is not there. Every step is decided by what is, not by what was
done before, so a leader that dies in the middle is continued by the next. Nothing here is forced:
a cluster that has lost its majority is an operator's business, not a program's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from khala.coordination import etcd_members
from khala.coordination.etcd_members import EtcdMember
from khala.coordination.etcd_rpc import EtcdRpc
from khala.model.errors import KhalaError, Rejected
from khala.pki.node import write_secret
from khala.protocol.members import Entered, Member, MemberView, Roster, Standing
from khala.store.roster import MongoRoster, Replica
from khala.supervise.probes import tcp_answers
from roles.judicator.chores import Leadership
from roles.judicator.founding import REMOVED
from roles.judicator.margin import margin_notes

log = structlog.get_logger()

ROUND_S = 1.0
#: A replica that is further behind gets no vote.
BEHIND_S = 10.0


class Removed(Rejected):
    """This judicator has been taken out of its cluster."""


class Members:
    """`own` is this node's own entry; `kept` the file for the next start."""

    def __init__(self, etcd: EtcdRpc, store: MongoRoster, own: Member, kept: Path) -> None:
        self._etcd = etcd
        self._store = store
        self._own = own
        self._kept = kept

    async def tend(self, leadership: Leadership) -> None:
        """The leader's rounds; until cancelled."""
        complaint = ""
        while True:
            await asyncio.sleep(ROUND_S)
            if leadership.term() is None:
                continue
            try:
                await self._step()
                complaint = ""
            except KhalaError as error:
                if error.message != complaint:
                    complaint = error.message
                    log.warning("members.step_failed", why=complaint)

    async def follow(self, on_change: Callable[[list[Member]], object]) -> None:
        """Every judicator's: know the others, also at the next start. Raise `Removed` when this
        one is no member any more."""
        known: list[Member] = []
        while True:
            try:
                members = await self._store.all()
            except KhalaError:
                members = known
            if members != known:
                if members and self._own.name not in {member.name for member in members}:
                    write_secret(self._kept.with_name(REMOVED), b"")
                    raise Removed(
                        f"judicator {self._own.name} has been taken out of the cluster; its data is"
                        " of no use any more: join again with an empty --data-dir"
                    )
                known = members
                write_secret(self._kept, msgspec.json.encode(members))
                on_change(members)
            await asyncio.sleep(ROUND_S)

    async def found(self) -> None:
        """The first judicator of a cluster is a member without asking anybody."""
        if not await self._store.all():
            await self._store.enter(self._own)
            await self._store.settle(self._own.name)

    # ---- what operators and joiners ask -------------------------------------------------------

    @property
    def epoch(self) -> int:
        return self._own.epoch

    async def enter(self, member: Member) -> Entered:
        if member.epoch != self._own.epoch:
            raise Rejected(
                f"judicator {member.name} is of epoch {member.epoch}, the cluster is in"
                f" {self._own.epoch}, because it lost its majority and was recovered; join again"
                " with an empty --data-dir"
            )
        await self._store.enter(msgspec.structs.replace(member, standing=Standing.JOINING))
        found = await etcd_members.list_members(self._etcd)
        members = await self._store.all()
        if not any(each.peer_url == member.etcd_peer for each in found):
            return Entered(existing="", members=members)
        names = {each.etcd_peer: each.name for each in members}
        existing = [f"{names.get(e.peer_url, e.name)}={e.peer_url}" for e in found]
        return Entered(existing=",".join(existing), members=members)

    async def roster(self) -> Roster:
        members = await self._store.all()
        voters = {e.peer_url: e for e in await etcd_members.list_members(self._etcd)}
        replicas = {each.host: each for each in await self._store.replicas()}
        views = [
            MemberView(
                member=member,
                etcd=_say_etcd(voters.get(member.etcd_peer)),
                mongodb=_say_replica(replicas.get(member.mongodb)),
            )
            for member in members
        ]
        return Roster(members=views, notes=_notes(members))

    async def remove(self, name: str) -> Roster:
        """Raise `Rejected` where what is left could not decide anything."""
        members = await self._store.all()
        found = next((member for member in members if member.name == name), None)
        if found is not None:
            _require_removable(found, members, await self._store.replicas())
        await self._store.begin_leaving(name)
        log.warning("member.leaves", name=name)
        return await self.roster()

    # ---- one step ---------------------------------------------------------------------------

    async def _step(self) -> None:
        members = await self._store.all()
        for member in members:
            if member.standing is Standing.LEAVING:
                await self._take_out(member)
                return
        for member in members:
            if member.standing is Standing.JOINING:
                await self._take_in(member)
                return

    async def _take_in(self, member: Member) -> None:
        found = await etcd_members.list_members(self._etcd)
        own = next((each for each in found if each.peer_url == member.etcd_peer), None)
        if own is None:
            if all(each.name and not each.learner for each in found):
                await etcd_members.add_learner(self._etcd, member.etcd_peer)
                log.info("member.announced", name=member.name)
            return
        if not own.name:
            return  # not started yet
        if own.learner:
            if await etcd_members.promote(self._etcd, own.id):
                log.info("member.votes", name=member.name, of="etcd")
            return
        replica = _of(await self._store.replicas(), member)
        if replica is None:
            if await _listens(member.mongodb):
                await self._store.add_replica(member.mongodb)
                log.info("member.replicates", name=member.name)
        elif replica.votes:
            await self._store.settle(member.name)
            log.info("member.joined", name=member.name)
        elif replica.holds_data and replica.behind_s is not None and replica.behind_s < BEHIND_S:
            await self._store.give_vote(member.mongodb)
            log.info("member.votes", name=member.name, of="mongodb")

    async def _take_out(self, member: Member) -> None:
        replica = _of(await self._store.replicas(), member)
        if replica is not None:
            if replica.is_primary:
                await self._store.step_down()
            else:
                await self._store.remove_replica(member.mongodb)
            return
        found = await etcd_members.list_members(self._etcd)
        own = next((each for each in found if each.peer_url == member.etcd_peer), None)
        if own is not None:
            await etcd_members.remove(self._etcd, own.id)
            return
        await self._store.forget(member.name)
        log.warning("member.left", name=member.name)


def _of(replicas: list[Replica], member: Member) -> Replica | None:
    return next((each for each in replicas if each.host == member.mongodb), None)


def _require_removable(found: Member, members: list[Member], replicas: list[Replica]) -> None:
    busy = [m.name for m in members if m.standing is Standing.LEAVING and m.name != found.name]
    if busy:
        raise Rejected(f"{busy[0]} is leaving; one at a time: repeat it when that is over")
    if len(members) == 1:
        raise Rejected(f"{found.name} is the last judicator: without it there is no cluster")
    left = [each for each in replicas if each.votes and each.host != found.mongodb]
    healthy = [each for each in left if each.holds_data]
    if found.standing is Standing.MEMBER and 2 * len(healthy) <= len(left):
        raise Rejected(
            f"without {found.name}, {len(healthy)} of {len(left)} judicators are healthy, which is"
            " no majority: bring the others back first (khala.pex cluster members)"
        )


def _say_etcd(member: EtcdMember | None) -> str:
    if member is None:
        return "no member"
    if not member.name:
        return "announced, not started"
    return "learner" if member.learner else "voter"


def _say_replica(replica: Replica | None) -> str:
    if replica is None:
        return "no member"
    vote = "" if replica.votes else ", no vote"
    behind = f", {replica.behind_s:.0f} s behind" if replica.behind_s else ""
    return f"{replica.state.lower() if replica.healthy else 'not reachable'}{vote}{behind}"


def _notes(members: list[Member]) -> list[str]:
    settled = [member for member in members if member.standing is Standing.MEMBER]
    notes = [f"{member.name} is {member.standing}." for member in members if member not in settled]
    names = [member.name for member in settled]
    return notes + margin_notes(names, names)


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return await tcp_answers(host, int(port))
