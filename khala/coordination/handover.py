"""A leader lets go because another one is to lead.

Nobody is made leader here. Whoever is asked puts a wish into etcd, the one that is named answers
whether it is fit, and only then the leader lets its claim go; the others leave the free claim alone
for as long as the wish lasts. The new leader says so when it has its term. Claim, term and fencing
are those of any election (`khala.coordination.membership`). What each side does, it does in its own
round, from what it has just read.

    /khala/<cluster>/handover          name of who is to lead, under a lease of HANDOVER_S
    /khala/<cluster>/handover-answer   Answer of that one, as JSON, under the same lease

Wish and answer go together when the lease ends, whatever has become of those that wrote them. So
one that agrees and falls silent keeps the cluster without a leader for `HANDOVER_S`, and one that
does not answer changes nothing. A judicator of an older version reads neither key: it never
answers, and never lets go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec
from msgspec import Struct

from khala.coordination.etcd_rpc import EtcdRpc, KeyValue
from khala.model.errors import KhalaError, NotFound, NotPossible, Unavailable
from khala.model.ids import JudicatorName
from khala.model.limits import HANDOVER_S, LEADER_TTL_S, TRANSFER_S
from khala.protocol.leadership import Transferred

WISH, ANSWER = "handover", "handover-answer"
LEADER = "leader"
_ENTRIES = "judicators/"
CALL_S = LEADER_TTL_S / 3
LOOK_S = 0.2
#: After the wish has ended: whoever was held back claims, and takes a term.
ELECTION_S = LEADER_TTL_S


class Answer(Struct, frozen=True, kw_only=True):
    """Of the one that is to lead."""

    willing: bool
    #: It has the claim and its term.
    leads: bool = False


class Wish(Struct, frozen=True, kw_only=True):
    """As it was read."""

    to: str
    lease: int
    #: None: not answered yet.
    answer: Answer | None = None

    @property
    def agreed(self) -> bool:
        return self.answer is not None and self.answer.willing

    def holds_back(self, name: str) -> bool:
        """This one neither leads nor claims: another one is about to."""
        return self.agreed and self.to != name


def wish_in(directory: Mapping[str, KeyValue]) -> Wish | None:
    """By key below the cluster's prefix. What cannot be read is no wish."""
    wish, answer = directory.get(WISH), directory.get(ANSWER)
    if wish is None:
        return None
    to = wish.value.decode(errors="replace")
    if answer is None or answer.lease != wish.lease:
        return Wish(to=to, lease=wish.lease)
    try:
        decoded = msgspec.json.decode(answer.value, type=Answer)
    except msgspec.MsgspecError:
        decoded = Answer(willing=False)
    return Wish(to=to, lease=wish.lease, answer=decoded)


async def answer_wish(etcd: EtcdRpc, prefix: str, wish: Wish, answer: Answer) -> None:
    """Under the wish's own lease; raise `KhalaError` where that has just ended."""
    value = msgspec.json.encode(answer)
    await etcd.put(KeyValue(key=f"{prefix}{ANSWER}", value=value, lease=wish.lease), CALL_S)


class _Directory(Struct, frozen=True, kw_only=True):
    """What etcd has of this cluster."""

    leader: JudicatorName | None
    names: list[JudicatorName]
    wish: Wish | None


class Handover:
    """The side that wishes: any judicator, for an operator."""

    def __init__(self, etcd: EtcdRpc, cluster: str) -> None:
        self._etcd = etcd
        self._prefix = f"/khala/{cluster}/"

    async def transfer(self, to: JudicatorName | None) -> Transferred:
        """Return when somebody leads. Raise `NotFound`, `NotPossible`, `Unavailable`: then the one
        that led goes on."""
        now = await self._read()
        if now.leader is None:
            raise Unavailable("nobody leads just now; an election takes seconds, repeat it then")
        if to is not None and to not in now.names:
            raise NotFound(f"there is no judicator {to[:80]!r}; there are: {', '.join(now.names)}")
        if to == now.leader:
            return Transferred(leader=now.leader, before=now.leader)
        others = [name for name in now.names if name != now.leader]
        if not others:
            raise NotPossible(f"{now.leader} is the only judicator that is there; it leads on")
        refusals: list[str] = []
        # The last one that is tried must have come to its end by then.
        last_at = time.monotonic() + TRANSFER_S - HANDOVER_S - ELECTION_S
        for name in [to] if to is not None else others:
            if refusals and time.monotonic() > last_at:
                break
            try:
                return await self._hand(now.leader, name)
            except NotPossible as error:
                refusals.append(error.message)
        raise NotPossible("; ".join(refusals))

    async def _hand(self, before: JudicatorName, to: JudicatorName) -> Transferred:
        lease = await self._etcd.grant(int(HANDOVER_S), CALL_S)
        try:
            wish = KeyValue(key=f"{self._prefix}{WISH}", value=to.encode(), lease=lease)
            if not await self._etcd.put_if_absent(wish, CALL_S):
                found = await self._read()
                # The answer to an earlier try of the same call may have been lost.
                if found.wish is None or found.wish.lease != lease:
                    raise Unavailable("another transfer is under way; repeat it in some seconds")
            return await self._watch(before, to, lease)
        finally:
            with suppress(KhalaError):
                await self._etcd.revoke(lease, CALL_S)

    async def _watch(self, before: JudicatorName, to: JudicatorName, lease: int) -> Transferred:
        deadline = time.monotonic() + HANDOVER_S + ELECTION_S
        agreed = False
        while time.monotonic() < deadline:
            await asyncio.sleep(LOOK_S)
            try:
                now = await self._read()
            except KhalaError:
                continue
            wish = now.wish if now.wish is not None and now.wish.lease == lease else None
            answer = wish.answer if wish is not None else None
            if answer is not None and not answer.willing:
                raise NotPossible(f"{to} takes no tasks itself just now; {before} leads on")
            agreed = agreed or answer is not None
            # While the wish lasts, its own one may have the claim without a term yet.
            settled = wish is None or now.leader != to or (answer is not None and answer.leads)
            if settled and now.leader is not None and now.leader != before:
                return Transferred(leader=now.leader, before=before)
            if wish is None and now.leader == before:
                break
        if not agreed:
            raise NotPossible(
                f"{to} did not answer within {HANDOVER_S:.0f} s: it stands still, or is of an older"
                f" version; {before} leads on"
            )
        raise NotPossible(
            f"{before} did not let go within {HANDOVER_S:.0f} s, or leads again because {to} fell"
            " silent; see /leader"
        )

    async def _read(self) -> _Directory:
        found = await self._etcd.list_prefix(self._prefix, CALL_S)
        by_key = {item.key.removeprefix(self._prefix): item for item in found}
        leader = by_key.get(LEADER)
        return _Directory(
            leader=None if leader is None else JudicatorName(leader.value.decode(errors="replace")),
            names=[
                JudicatorName(key.removeprefix(_ENTRIES))
                for key in sorted(by_key)
                if key.startswith(_ENTRIES)
            ],
            wish=wish_in(by_key),
        )
