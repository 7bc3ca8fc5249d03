"""What load balancers, supervisors and people ask a gateway, without a token: a status that says it
all, and a line or two beside it."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sanic import Request
from sanic.response import HTTPResponse

from khala.model.errors import KhalaError, Unavailable
from khala.net.httpd import Routes, probe, say_ready
from khala.version import VERSION
from roles.gateway.cluster import Cluster, Seen


class Version(Struct, frozen=True, kw_only=True):
    """Of this gateway; judicators and executors are among the nodes."""

    version: str


class Probes:
    """The handlers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._started = False

    def register(self, routes: Routes) -> None:
        routes.add("GET", "/livez", self.answer_live)
        routes.add("GET", "/startupz", self.answer_started)
        routes.add("GET", "/readyz", self.answer_ready)
        routes.add("GET", "/leader", self.answer_leader)
        routes.add("GET", "/version", self.answer_version)

    async def answer_live(self, _: Request) -> HTTPResponse:
        """This process answers; whether it is of any use is `/readyz`."""
        return probe(200, "live")

    async def answer_started(self, _: Request) -> HTTPResponse:
        """A task would have been accepted at some time since the start of this process: from then
        on, what is missing is no reason to start it again."""
        if not self._started:
            try:
                await self._view()
            except KhalaError as error:
                return probe(503, error.message)
        self._started = True
        return probe(200, "started")

    async def answer_ready(self, _: Request) -> HTTPResponse:
        """A task would be accepted now; what an operator should know beside it is a warning."""
        try:
            seen = await self._view()
        except KhalaError as error:
            return probe(503, error.message)
        self._started = True
        return say_ready(seen.notes)

    async def answer_leader(self, _: Request) -> HTTPResponse:
        """Some judicator leads, and this is its name. (Each judicator's own `/leader`, on its RPC
        port, answers 200 on the leader alone.)"""
        try:
            seen = await self._cluster.view()
        except KhalaError as error:
            return probe(503, error.message)
        leaders = [each.record.name for each in seen.judicators if each.record.leader]
        return probe(200, leaders[0]) if leaders else probe(503, "no judicator leads")

    async def answer_version(self, _: Request) -> HTTPResponse:
        return HTTPResponse(
            msgspec.json.encode(Version(version=VERSION)) + b"\n",
            headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
            content_type="application/json",
        )

    async def _view(self) -> Seen:
        seen = await self._cluster.view()
        if not seen.serving:
            raise Unavailable("no judicator accepts tasks now")
        return seen
