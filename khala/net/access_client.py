"""The judicators' users, tokens and sessions, as methods: those that need more than `ask`."""

from __future__ import annotations

import msgspec

from khala.net.calls import Call, Calls, parse
from khala.protocol.access import AuditOutcome, Identified, Identify, TicketUsed, UseTicket

_encode = msgspec.msgpack.Encoder().encode
_decode_identified = msgspec.msgpack.Decoder(Identified)
_decode_used = msgspec.msgpack.Decoder(TicketUsed)
#: Who asks is found out before anything else is done for them, so it must not take long.
IDENTIFY_S = 2.0
IDENTIFY_TOTAL_S = 4.0
OUTCOME_S = 2.0


class AccessClient(Calls):
    async def identify(self, shown: Identify) -> Identified:
        """Raise `NotFound` of a judicator that is older than the question."""
        call = Call(
            method="POST",
            path="/rpc/v1/identify",
            body=_encode(shown),
            reads=True,
            try_s=IDENTIFY_S,
            total_s=IDENTIFY_TOTAL_S,
        )
        return parse(_decode_identified, await self._call(call))

    async def use_ticket(self, ticket: UseTicket) -> TicketUsed:
        """Raise `NotFound` of a judicator that is older than tickets."""
        call = Call(
            method="POST",
            path="/rpc/v1/tickets/use",
            body=_encode(ticket),
            repeatable=False,
            try_s=IDENTIFY_S,
            total_s=IDENTIFY_TOTAL_S,
        )
        return parse(_decode_used, await self._call(call))

    async def close_session(self, session: str) -> None:
        """Also one that is not there."""
        await self._call(Call(method="DELETE", path=f"/rpc/v1/sessions/{session}"))

    async def note_outcome(self, entry: str, outcome: AuditOutcome) -> None:
        """Of an act that is in the audit log."""
        call = Call(
            method="POST",
            path=f"/rpc/v1/audit/{entry}/outcome",
            body=_encode(outcome),
            try_s=OUTCOME_S,
            total_s=OUTCOME_S,
        )
        await self._call(call)
