"""The RPC of `cordon`, `uncordon` and `drain`.

What is stored is the operator's word. It takes effect here at once if the executor is connected
here, with its judicator's next audit if it is not, and outlives sessions and restarts of both.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from khala.core.dispatch import Dispatcher
from khala.model.dates import utc_now
from khala.model.errors import NotFound, Rejected
from khala.model.executor import Cordon
from khala.model.ids import ExecutorName
from khala.model.limits import CORDON_REASON_CHARS, DRAIN_MAX_S
from khala.net.httpd import Routes
from khala.protocol.nodes import NodeLoad, SetCordon
from khala.store.protocols import SessionStore
from roles.judicator.answers import answer, decode

_decode_cordon = msgspec.msgpack.Decoder(SetCordon).decode


class NodeRoutes:
    def __init__(self, dispatcher: Dispatcher, store: SessionStore) -> None:
        self._dispatcher = dispatcher
        self._store = store

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/rpc/v1/nodes/<name:str>", self.show)
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
            raise NotFound(f"there is no executor {name[:80]!r}; khala.pex status shows them")
        leases = await self._store.leases_of(record.name, record.session)
        return answer(NodeLoad(record=record, running=len(leases)))

    async def _set(self, name: str, cordon: Cordon | None) -> None:
        known = ExecutorName(name)
        await self._store.set_cordon(known, cordon)
        session = self._dispatcher.sessions.get(known)
        if session is not None:
            self._dispatcher.sessions.set_cordon(session, cordon)
