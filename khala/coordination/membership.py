"""One judicator's presence in etcd: its entry in the registry, and its claim to lead.

Both hang on one lease that is renewed four times per its time to live. When the lease is gone
(etcd restarted empty, this process was paused), everything is written anew under a fresh one.
The directory is polled once a second; nothing is watched. Each round compares what is there with
what should be: an entry or a claim can vanish under a lease that lives (a late write of an earlier
lease replaced it and then expired), and would otherwise be missed until the process ends.

etcd may be away for as long as it likes: nobody leads then, and everything else goes on.

    /khala/<cluster>/judicators/<name>   Entry, as JSON
    /khala/<cluster>/leader              name of the leader

`khala.coordination.handover` has the keys of a leader that is to let go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from msgspec import Struct

from khala.coordination.etcd_rpc import EtcdRpc, KeyValue, LeaseGone
from khala.coordination.handover import Answer, Wish, answer_wish, wish_in
from khala.core.trust import Trust
from khala.model.errors import KhalaError, Unavailable
from khala.model.executor import JudicatorRecord
from khala.model.ids import Incarnation, JudicatorName, Term
from khala.model.limits import LEADER_TTL_S, STORE_TIMEOUT_S

log = structlog.get_logger()

POLL_S = 1.0
#: Polls that a judicator without a term leaves the claim to others; they poll as often.
RESTS_POLLS = 3
RENEW_S = LEADER_TTL_S / 4
CALL_S = LEADER_TTL_S / 3
#: For a term. The store has a deadline of its own; a claim whose holder waits for ever, and renews
#: its lease meanwhile, would keep the cluster without a leader for ever.
TERM_S = STORE_TIMEOUT_S + 1.0
#: A directory older than this is not an argument for anything.
DIRECTORY_TTL_S = 3.0


class Entry(Struct, frozen=True, kw_only=True):
    """What a judicator says of itself."""

    address: str
    incarnation: Incarnation


class Identity(Struct, frozen=True, kw_only=True):
    cluster: str
    name: JudicatorName
    entry: Entry


class WarnOnce:
    """What is there in each round is told in the first."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, event: str, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            log.warning(event, why=why)


class Membership:
    """Registered and possibly leading while `run` runs."""

    def __init__(
        self,
        etcd: EtcdRpc,
        identity: Identity,
        take_term: Callable[[], Awaitable[Term]],
        fit: Callable[[], bool] = lambda: True,
    ) -> None:
        """`fit` says whether this one would lead if an operator asked it to."""
        self._fit = fit
        self._etcd = etcd
        self._identity = identity
        self._take_term = take_term
        self._prefix = f"/khala/{identity.cluster}/"
        self._lease: int | None = None
        #: The entry was written under this lease; one of an earlier life is no surprise before.
        self._registered = False
        self._leading = False
        self._term: Term | None = None
        self._trust = Trust()
        self._records: list[JudicatorRecord] = []
        #: Every entry of the last reading made sense.
        self._complete = True
        self._read_at = float("-inf")
        #: Without a term from MongoDB, the claim is left to others until then.
        self._rests_until = float("-inf")
        self._warn_once = WarnOnce()

    def term(self) -> Term | None:
        """The term this process leads in, None while it does not or cannot be sure."""
        return self._term if self._trust.holds(time.monotonic()) else None

    def alive(self) -> set[Incarnation] | None:
        """Incarnations in the registry; None while it, or any entry in it, cannot be read:
        whoever is not in this set is taken for dead."""
        if time.monotonic() - self._read_at > DIRECTORY_TTL_S or not self._complete:
            return None
        return {record.incarnation for record in self._records}

    def judicators(self) -> list[JudicatorRecord]:
        """The directory as it was read last."""
        return self._records

    async def run(self) -> None:
        """Until cancelled; gives the lease back then, so that a successor need not wait."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hold_lease())
                tasks.create_task(self._poll())
        finally:
            await self._resign()

    async def _hold_lease(self) -> None:
        complaint = ""
        while True:
            began_at = time.monotonic()
            try:
                await self._renew()
                if complaint:
                    log.info("membership.renewed_again")
                complaint = ""
            except KhalaError as error:
                if error.message != complaint:
                    complaint = error.message
                    log.warning("membership.not_renewed", why=complaint)
            # A renewal that timed out has used its interval up; the lease does not wait.
            await asyncio.sleep(max(0.0, began_at + RENEW_S - time.monotonic()))

    async def _renew(self) -> None:
        if self._lease is not None:
            sent_at = time.monotonic()
            try:
                await self._etcd.keepalive(self._lease, CALL_S)
            except LeaseGone:
                self._forget_lease()
            else:
                if self._leading:
                    self._trust.renewed(sent_at)
                return
        # Given back by `_resign` even if it is not registered yet.
        self._lease = await self._etcd.grant(int(LEADER_TTL_S), CALL_S)
        await self._register(self._lease)

    async def _register(self, lease: int) -> None:
        key = f"{self._prefix}judicators/{self._identity.name}"
        value = msgspec.json.encode(self._identity.entry)
        await self._etcd.put(KeyValue(key=key, value=value, lease=lease), CALL_S)
        self._registered = True
        log.info("membership.registered", name=self._identity.name)

    def _forget_lease(self) -> None:
        log.warning("membership.lease_lost")
        self._lease, self._registered = None, False
        self._step_down()

    def _step_down(self) -> None:
        if self._leading:
            log.warning("leader.stepped_down", term=self._term)
        self._leading = False
        self._term = None
        self._trust.lost()

    async def _poll(self) -> None:
        while True:
            try:
                await self._read_directory()
            except KhalaError as error:
                log.debug("membership.directory_unread", why=error.message)
            await asyncio.sleep(POLL_S)

    async def _read_directory(self) -> None:
        sent_at, lease, registered = time.monotonic(), self._lease, self._registered
        found = await self._etcd.list_prefix(self._prefix, CALL_S)
        by_key = {item.key.removeprefix(self._prefix): item for item in found}
        leader = by_key.get("leader")
        entries = [
            _record(key.removeprefix("judicators/"), item, leader, self._warn_once)
            for key, item in sorted(by_key.items())
            if key.startswith("judicators/")
        ]
        self._records = [entry for entry in entries if entry is not None]
        self._complete = None not in entries
        self._read_at = sent_at
        mine = leader is not None and leader.lease == lease
        if self._leading and not mine:
            self._step_down()
        if lease is None:
            return
        entry = next((one for one in self._records if one.name == self._identity.name), None)
        if entry is None or not registered:
            await self._register(lease)
        elif entry.incarnation != self._identity.entry.incarnation:
            self._warn_once(
                "membership.name_taken",
                f"{entry.address} calls itself {entry.name} too; give each its own --name",
            )
        wish = wish_in(by_key)
        if wish is not None and await self._heed(wish, lease, mine=mine):
            return
        claimable = leader is None or (mine and not self._leading)
        if claimable and time.monotonic() >= self._rests_until:
            await self._campaign(lease)

    async def _heed(self, wish: Wish, lease: int, *, mine: bool) -> bool:
        """Whether the claim is another one's for now. What was this one's is let go then, after it
        has stopped to believe in it."""
        name = self._identity.name
        if wish.to == name:
            fit = self._fit() and time.monotonic() >= self._rests_until
            answer = Answer(willing=self._leading or fit, leads=self._leading)
            if wish.answer is None or answer.leads != wish.answer.leads:
                await answer_wish(self._etcd, self._prefix, wish, answer)
        if mine and wish.holds_back(name):
            self._step_down()
            await self._etcd.delete_if_held(f"{self._prefix}leader", lease, CALL_S)
            log.info("leader.let_go", to=wish.to)
        return wish.holds_back(name)

    async def _campaign(self, lease: int) -> None:
        """Claim the key; the term comes from MongoDB, so it survives the loss of all etcd data."""
        sent_at = time.monotonic()
        await self._etcd.keepalive(lease, CALL_S)
        item = KeyValue(
            key=f"{self._prefix}leader", value=self._identity.name.encode(), lease=lease
        )
        created = await self._etcd.put_if_absent(item, CALL_S)
        if not created:
            holder = await self._etcd.list_prefix(item.key, CALL_S)
            if not any(kv.key == item.key and kv.lease == lease for kv in holder):
                return
        try:
            async with asyncio.timeout(TERM_S):
                term = await self._take_term()
        except (KhalaError, TimeoutError) as error:
            # Another judicator's MongoDB may be in better health: it must find no claim of ours,
            # and time to make its own.
            self._rests_until = time.monotonic() + RESTS_POLLS * POLL_S
            await self._etcd.delete_if_held(item.key, lease, CALL_S)
            raise Unavailable(f"no term from MongoDB: {error}") from error
        if lease != self._lease:
            # Lost meanwhile; renewals of the next one prove nothing about this claim.
            return
        self._leading = True
        self._term = term
        self._trust.renewed(sent_at)
        log.info("leader.elected", term=term)

    async def _resign(self) -> None:
        lease, self._lease = self._lease, None
        self._step_down()
        if lease is not None:
            try:
                await self._etcd.revoke(lease, 1.0)
            except KhalaError as error:
                log.debug("membership.lease_not_revoked", why=error.message)


def _record(
    name: str, item: KeyValue, leader: KeyValue | None, warn: WarnOnce
) -> JudicatorRecord | None:
    try:
        entry = msgspec.json.decode(item.value, type=Entry)
    except msgspec.MsgspecError as error:
        warn(
            "membership.entry_unreadable",
            f"{item.key}: {error}; nobody is taken for dead until it is right or deleted",
        )
        return None
    return JudicatorRecord(
        name=JudicatorName(name),
        address=entry.address,
        incarnation=entry.incarnation,
        leader=leader is not None and leader.lease == item.lease,
    )
