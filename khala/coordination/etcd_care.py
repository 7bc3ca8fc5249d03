"""What a judicator does about the alarms of its own etcd member.

etcd raises an alarm and then refuses, until somebody does something: after NOSPACE every write,
after CORRUPT everything. Nobody would: no task is touched by it, only that nobody leads, so lost
executors keep their tasks and members can neither come nor go.

NOSPACE is repaired here. What is kept in etcd is ten keys that expire; all the rest is history, so
compaction and defragmentation give nearly all of the space back, and then the alarm is lifted.
They concern one member and need no leader, so each judicator sees to its own. A member that is
CORRUPT disagrees with the others about facts. That is not repaired by a program: its judicator
stops serving, says so, and an operator gives the member new data.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Any

import grpc
import structlog
from etcd3 import etcdrpc

from khala.coordination.etcd_rpc import EtcdRpc, EtcdUnavailable

log = structlog.get_logger()

POLL_S = 5.0
CALL_S = 2.0
#: Rewrites the file of the database; a quarter of a gigabyte at the most.
DEFRAGMENT_S = 60.0


class Alarm(StrEnum):
    NO_SPACE = "no space"
    CORRUPT = "corrupt"

    @property
    def sentence(self) -> str:
        """For people, and what follows from it."""
        if self is Alarm.NO_SPACE:
            return (
                "etcd here has no space left: nobody leads until it is compacted, which is under"
                " way; if it stays so, see whether the disk is full."
            )
        return (
            "etcd here disagrees with the other members (alarm CORRUPT), so this judicator does"
            " not serve; give its etcd new data."
        )


_KNOWN = {etcdrpc.NOSPACE: Alarm.NO_SPACE, etcdrpc.CORRUPT: Alarm.CORRUPT}


class EtcdCare:
    """Looks at the local member of `etcd` now and then."""

    def __init__(self, etcd: EtcdRpc) -> None:
        self._etcd = etcd
        #: Alarms of this member, as of the last look that was answered.
        self.alarms: frozenset[Alarm] = frozenset()

    @property
    def corrupt(self) -> bool:
        return Alarm.CORRUPT in self.alarms

    def sentences(self) -> list[str]:
        return [alarm.sentence for alarm in sorted(self.alarms)]

    async def run(self) -> None:
        """Until cancelled. A member that does not answer has raised nothing new."""
        while True:
            try:
                await self.look()
            except EtcdUnavailable as error:
                log.debug("etcd.alarms_unread", why=error.message)
            await asyncio.sleep(POLL_S)

    async def look(self) -> None:
        """Once, with the repair that is due."""
        status = await self._ask("Status", etcdrpc.StatusRequest())
        member = status.header.member_id
        asked = etcdrpc.AlarmRequest(action=etcdrpc.AlarmRequest.GET)
        raised = (await self._ask("Alarm", asked)).alarms
        found = frozenset(
            _KNOWN[each.alarm]
            for each in raised
            if each.memberID == member and each.alarm in _KNOWN
        )
        if found != self.alarms:
            log.error("etcd.alarms", alarms=sorted(found))
        self.alarms = found
        if Alarm.NO_SPACE in found:
            await self._make_room(member, status.header.revision)

    async def _make_room(self, member: int, revision: int) -> None:
        try:
            compact = etcdrpc.CompactionRequest(revision=revision, physical=True)
            await self._ask("Compact", compact, stub=etcdrpc.KVStub)
        except EtcdUnavailable as error:
            # That much is gone already; it may not have been given back.
            log.debug("etcd.not_compacted", why=error.message)
        await self._ask("Defragment", etcdrpc.DefragmentRequest(), timeout_s=DEFRAGMENT_S)
        lift = etcdrpc.AlarmRequest(
            action=etcdrpc.AlarmRequest.DEACTIVATE, memberID=member, alarm=etcdrpc.NOSPACE
        )
        await self._ask("Alarm", lift)
        log.warning("etcd.room_made", revision=revision)

    async def _ask(
        self,
        method: str,
        request: Any,
        *,
        stub: Any = etcdrpc.MaintenanceStub,
        timeout_s: float = CALL_S,
    ) -> Any:
        """Of the local member and no other."""
        try:
            async with asyncio.timeout(timeout_s):
                call = getattr(stub(self._etcd.own_channel), method)
                return await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise EtcdUnavailable(f"etcd: {error.details() or error.code().name}") from error
        except TimeoutError:
            raise EtcdUnavailable(f"etcd: no answer within {timeout_s:.3g} s") from None
