"""The RPC of `cordon`, `uncordon`, `drain`, and of executors that are gone for good.

What is stored is the operator's word. It takes effect here at once if the executor is connected
here, with its judicator's next audit if it is not, and outlives sessions and restarts of both.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.core.sessions import Sessions
from khala.model.dates import utc_now
from khala.model.errors import NotFound, NotPossible, Rejected
from khala.model.executor import Cordon
from khala.model.ids import ExecutorName
from khala.model.limits import CORDON_REASON_CHARS, DRAIN_MAX_S
from khala.net.httpd import Routes
from khala.protocol.nodes import NodeLoad, SetCordon
from khala.store.protocols import SessionStore
from roles.judicator.answers import answer, decode

_decode_cordon = msgspec.msgpack.Decoder(SetCordon).decode


class NodeRoutes:
    def __init__(self, sessions: Sessions, store: SessionStore) -> None:
        self._sessions = sessions
        self._store = store

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/nodes/<name:str>", self.show)
        routes.add("DELETE", "/rpc/v1/nodes/<name:str>", self.forget)
        routes.add("POST", "/rpc/v1/nodes/<name:str>/cordon", self.cordon)
        routes.add("DELETE", "/rpc/v1/nodes/<name:str>/cordon", self.uncordon)

    async def cordon(self, request: Request, name: str) -> HTTPResponse:
        asked = decode(_decode_cordon, request.body)
        reason = " ".join(asked.reason.split())
        if len(reason) > CORDON_REASON_CHARS:
            raise Rejected(
                f"--reason: up to {CORDON_REASON_CHARS} characters, {len(reason)} were given",
                field="--reason",
            )
        if asked.deadline_s is not None and not 0 <= asked.deadline_s <= DRAIN_MAX_S:
            raise Rejected(
                f"--deadline: from 0 to {DRAIN_MAX_S:.0f} s; {asked.deadline_s:g} s was given",
                field="--deadline",
            )
        now = utc_now()
        deadline = None if asked.deadline_s is None else now + timedelta(seconds=asked.deadline_s)
        await self._set(name, Cordon(reason=reason, since=now, deadline=deadline))
        return await self.show(request, name)

    async def uncordon(self, request: Request, name: str) -> HTTPResponse:
        await self._set(name, None)
        return await self.show(request, name)

    async def show(self, _: Request, name: str) -> HTTPResponse:
        records = await self._store.list_executors()
        record = next((each for each in records if each.name == name), None)
        if record is None:
            raise NotFound(f"there is no executor {name[:80]!r}; khala.pex nodes shows them")
        leases = await self._store.leases_of(record.name, record.session)
        return answer(NodeLoad(record=record, running=len(leases)))

    async def forget(self, request: Request, name: str) -> HTTPResponse:
        was = await self.show(request, name)
        if not await self._store.forget_if_lost(ExecutorName(name)):
            raise NotPossible(
                f"executor {name} is not lost, and would be back with its next word; stop it, and"
                " repeat this when `khala.pex nodes` shows it as lost",
            )
        return was

    async def _set(self, name: str, cordon: Cordon | None) -> None:
        known = ExecutorName(name)
        await self._store.set_cordon(known, cordon)
        session = self._sessions.get(known)
        if session is not None:
            self._sessions.set_cordon(session, cordon)
