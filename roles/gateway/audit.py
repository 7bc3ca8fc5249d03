"""The audit log's side of a gateway: noted before it is done, with how it ended after it.

An act that cannot be noted is not done, or the log would lack exactly what somebody wanted it to
lack. How it ended is added when it has; if that is lost, the entry says that nobody knows.
Refusals cost nobody anything but the one who is refused, and can be had by the thousand: of each
user and act one a minute is noted.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from sanic import Request

from khala.model.access_limits import (
    AUDIT_DETAIL_CHARS,
    AUDIT_REFUSALS,
    AUDIT_REFUSALS_S,
    AUDIT_TARGET_CHARS,
)
from khala.model.errors import Forbidden, KhalaError, NotFound, OutcomeUnknown, Unavailable
from khala.net import request_ids
from khala.net.client import JudicatorClient
from khala.net.statuses import status_of
from khala.protocol.access import AuditEntry, AuditKept, AuditOutcome
from roles.gateway.callers import Caller
from roles.gateway.operations import Operation

#: For what has no word of its own in the log.
REFUSED = "refused"
_REFUSED_STATUS = 403


@dataclass(slots=True)
class Ending:
    #: None: nobody knows.
    status: int | None = None


class Audit:
    def __init__(self, client: JudicatorClient, now: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._now = now
        self._via = socket.gethostname()
        #: When a refusal was noted last, by user and act; the oldest first.
        self._refused: dict[tuple[str, str], float] = {}

    @asynccontextmanager
    async def around(
        self,
        request: Request,
        caller: Caller,
        operation: Operation,
        arguments: Mapping[str, object],
    ) -> AsyncIterator[Ending]:
        """Notes what is done within, if there is a word for it. Raise `Unavailable` if it
        cannot."""
        ending = Ending()
        kept = None
        if operation.act is not None:
            target, detail = said_of(request, operation, arguments)
            kept = await self._keep(self._entry(request, caller, operation.act, target, detail))
        try:
            yield ending
        except KhalaError as error:
            ending.status = status_of(error)
            if kept is None and isinstance(error, Forbidden):
                await self.refuse(request, caller, operation, error)
            raise
        finally:
            if kept is not None and ending.status is not None:
                await self._end(kept, ending.status)

    async def refuse(
        self, request: Request, caller: Caller, operation: Operation, error: Forbidden
    ) -> None:
        """Notes that somebody who is known wanted to do what they may not; as well as it can."""
        act = operation.act or REFUSED
        if caller.name is None or not self._is_due(caller.name, act):
            return
        target = f"{request.method} {request.path}"
        with suppress(KhalaError):
            entry = self._entry(request, caller, act, target, error.message)
            kept = await self._keep(entry)
            if kept is not None:
                await self._end(kept, _REFUSED_STATUS)

    def _is_due(self, name: str, act: str) -> bool:
        key, now = (name, act), self._now()
        if now - self._refused.get(key, float("-inf")) < AUDIT_REFUSALS_S:
            return False
        self._refused.pop(key, None)
        if len(self._refused) >= AUDIT_REFUSALS:
            del self._refused[next(iter(self._refused))]
        self._refused[key] = now
        return True

    def _entry(
        self, request: Request, caller: Caller, act: str, target: str, detail: str
    ) -> AuditEntry:
        return AuditEntry(
            act=act,
            target=target[:AUDIT_TARGET_CHARS],
            detail=detail[:AUDIT_DETAIL_CHARS],
            user=caller.name,
            known_by=caller.known_by,
            token=caller.identity.token,
            address=request.ip,
            via=self._via,
            request_id=request_ids.current(),
        )

    async def _keep(self, entry: AuditEntry) -> str | None:
        """Its id; None of judicators that keep no log, because they are older than it."""
        try:
            return (await self._client.ask("POST", "/rpc/v1/audit", entry, AuditKept)).id
        except NotFound:
            return None
        except (Unavailable, OutcomeUnknown) as error:
            raise Unavailable(
                f"the audit log cannot be written, so nothing was done: {error.message}"
            ) from error

    async def _end(self, kept: str, status: int) -> None:
        with suppress(KhalaError):
            await self._client.note_outcome(kept, AuditOutcome(status=status))


def said_of(
    request: Request, operation: Operation, arguments: Mapping[str, object]
) -> tuple[str, str]:
    """On what, and how: what the path names, and of the document what the operation declares."""
    given: dict[str, Any] = {}
    if operation.noted and request.body:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            decoded = msgspec.json.decode(request.body)
            given = decoded if isinstance(decoded, dict) else {}
    shown = [(name, given[name]) for name in operation.noted if name in given]
    detail = ", ".join(f"{name} {msgspec.json.encode(value).decode()}" for name, value in shown)
    target = next((str(value) for value in arguments.values()), None)
    return str(given.get("name", "")) if target is None else target, detail
